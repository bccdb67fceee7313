/** `capi features`: patch features of images, to one safetensors file. */
import { dirname } from 'node:path';
import { systemError } from '../data/data_errors.js';
import { openSource } from '../data/source.js';
import { writeFeatures } from '../eval/feature_file.js';
import { loadModel } from '../eval/vision_model.js';
import { type BackendRequest, selectBackend } from '../native/backend.js';
import { bytes } from '../native/bytes.js';
import { CapiError } from '../native/errors.js';
import { Progress } from '../train/progress.js';
import { RunFolder } from '../train/run_folder.js';
import { StopSignals } from '../train/stop_signals.js';

export interface FeaturesOptions {
  readonly output: string;
  readonly weights: string;
  readonly size?: number;
  readonly limit?: number;
  readonly batch: number;
  readonly backend: BackendRequest;
  readonly maxBadShare: number;
}

export async function featuresCommand(checkpoint: string, images: string, options: FeaturesOptions) {
  const { weights, output, maxBadShare } = options;
  if (weights !== 'student_ema' && weights !== 'student') {
    throw new CapiError(
      'ERR_CAPI_INVALID_ARGUMENT',
      `Expected --weights student_ema or student but received ${weights}`,
    );
  }
  const { backend, reason } = selectBackend(options.backend, '--backend ');
  using model = await loadModel(checkpoint, {
    weights,
    imageSize: options.size,
    batchSize: options.batch,
    backend,
  });
  await using source = openSource(images);
  console.error(`backend ${backend}: ${reason}`);
  const count = Math.min(source.length, options.limit ?? source.length);
  using _folder = folderOf(output);
  using signals = new StopSignals();
  using progress = new Progress({ totalIterations: count, batchSize: 1 });
  const written = await writeFeatures(output, {
    model,
    source,
    count,
    maxBadShare,
    stopped: () => signals.received !== undefined,
    onProgress: (iteration) => progress.update({ iteration }),
    onBadImage: (reason) => progress.note(`left out: ${reason}`),
  });
  progress.finish();
  const leftOut = written.leftOut > 0 ? ` (${written.leftOut} bad ones left out)` : '';
  const [height, width] = model.imageSize;
  console.error(
    `${written.images} images of ${width}x${height}${leftOut}: features in ${output} (${bytes(written.bytes)})`,
  );
}

/** Made where it is missing, and gone again when nothing was written. */
function folderOf(output: string): RunFolder {
  try {
    return new RunFolder(dirname(output));
  } catch (error) {
    throw systemError(
      `write ${output}`,
      error,
      'Name a file in a folder that may be written, then start again.',
    );
  }
}
