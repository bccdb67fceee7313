/** What the report of a run shows: its curves, some masks, patch features as colours, its configuration. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { listCheckpoints } from '../checkpoint/checkpoint.js';
import { loadConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { configToYaml } from '../config/to_yaml.js';
import { openSource } from '../data/source.js';
import { type LoadedImages, loadImages } from '../eval/load_images.js';
import { componentColoursJoint, componentColoursPerImage } from '../eval/pca.js';
import type { FeaturePicture, MaskPicture, Pixels, ReportData } from '../eval/report/data.js';
import { loadModel, VisionModel } from '../eval/vision_model.js';
import { numPositions } from '../model/model_config.js';
import { CapiError, isCapiError } from '../native/errors.js';
import { packageVersion } from '../native/versions.js';
import { ops } from '../tensor/ops.js';
import { Tensor } from '../tensor/tensor.js';
import { maskOptions } from './batch.js';
import { METRICS_FILE_NAME, readMetrics, readSaveFailures, type SaveFailure } from './metrics_file.js';
import { network } from './network.js';
import { RESOLVED_CONFIG_NAME } from './resolved_config.js';
import { checkpointFolder } from './run_checkpoints.js';

/** Images shown. */
const pictures = 8;

/**
 * Gathers the report's data from a run folder. Pictures need the data set; without it they are left out and
 * `warnings` says so.
 * @param title of the report; default: the folder
 */
export async function runReport(folder: string, title = folder): Promise<ReportData> {
  const configPath = join(folder, RESOLVED_CONFIG_NAME);
  if (!existsSync(configPath)) {
    throw new CapiError(
      'ERR_CAPI_INVALID_ARGUMENT',
      `Expected a run folder with ${RESOLVED_CONFIG_NAME} but received ${folder}`,
    );
  }
  const { config } = await loadConfig(configPath);
  const metricsPath = join(folder, METRICS_FILE_NAME);
  const metrics = readMetrics(metricsPath);
  const done = Math.max((metrics.at(-1)?.iteration ?? -1) + 1, await savedIterations(folder));
  const shown = await runPictures(config, folder);
  return {
    title,
    metrics,
    numClusters: config.capi.num_clusters,
    config: configToYaml(config),
    facts: facts(config, done),
    ...shown,
    warnings: [...(shown.warnings ?? []), ...saveWarning(readSaveFailures(metricsPath))],
    footer: `capi-vit ${packageVersion()}`,
  };
}

/** Iterations done by the newest checkpoint. */
async function savedIterations(folder: string): Promise<number> {
  const [newest] = await listCheckpoints(checkpointFolder(folder));
  return newest?.iteration ?? 0;
}

function saveWarning(failures: readonly SaveFailure[]): string[] {
  const last = failures.at(-1);
  if (last === undefined) return [];
  const which =
    failures.length === 1
      ? `The save at iteration ${last.iteration} failed`
      : `${failures.length} saves failed, the last at iteration ${last.iteration}`;
  return [`${which}: ${last.reason}. The last good checkpoint was ${last.last_checkpoint ?? 'none'}.`];
}

function facts(config: Config, done: number): { label: string; value: string }[] {
  const { total_iters: total } = config.optim;
  const { model, images, visible, predicted } = network(config);
  return [
    { label: 'data', value: config.data.dataset },
    {
      label: 'model',
      value: `${model.encoderDepth} + ${model.predictorDepth} blocks of width ${model.width}, ${model.numHeads} heads, patch ${model.patchSize}`,
    },
    {
      label: 'batch',
      value: `${images} images, ${visible} of ${numPositions(model)} patches seen, ${predicted} predicted`,
    },
    { label: 'prototypes', value: String(config.capi.num_clusters) },
    { label: 'steps', value: done < total ? `${done} of ${total}` : String(total) },
    { label: 'storage', value: config.efficiency.param_dtype },
  ];
}

async function runPictures(
  config: Config,
  folder: string,
): Promise<Pick<ReportData, 'masks' | 'features' | 'warnings'>> {
  const size = config.data.images_size;
  let images: LoadedImages;
  try {
    await using source = openSource(config.data.dataset);
    const step = Math.max(1, Math.floor(source.length / pictures));
    const count = Math.min(pictures, source.length);
    images = await loadImages(
      source,
      Array.from({ length: count }, (_, i) => i * step),
      size,
    );
  } catch (error) {
    if (!isCapiError(error)) throw error;
    return { warnings: [`There are no pictures: ${error.message}`] };
  }
  using model = await loadModel(folder, { imageSize: size, batchSize: pictures });
  using untrained = new VisionModel(model.config, model);
  untrained.initialize(config.train.seed);
  return {
    masks: await maskPictures(config, images),
    features: await featurePictures(model, untrained, images),
  };
}

/** The crops are not the run's own: whole images show better what is hidden. */
async function maskPictures(config: Config, images: LoadedImages): Promise<MaskPicture[]> {
  const shape = network(config);
  const count = images.indices.length;
  const positions = numPositions(shape.model);
  using samples = Tensor.from(
    images.indices.flatMap((_, image) => [image, 0]),
    [count, 2],
    'i32',
  );
  using visible = Tensor.zeros([1, count * shape.visible], 'i32');
  using predict = Tensor.zeros([1, count * shape.predicted], 'i32');
  ops.generateMasks({ ...maskOptions(config, shape), samples, visible, predict });
  const [seen, asked] = [await visible.read(), await predict.read()];
  return images.indices.map((_, image) => ({
    image: pixelsOf(images, image, config.data.images_size),
    gridRows: shape.model.grid[0],
    gridCols: shape.model.grid[1],
    visible: Array.from(
      seen.slice(image * shape.visible, (image + 1) * shape.visible),
      (at) => at % positions,
    ),
    predicted: Array.from(
      asked.slice(image * shape.predicted, (image + 1) * shape.predicted),
      (at) => at % positions,
    ),
  }));
}

async function featurePictures(
  model: VisionModel,
  untrained: VisionModel,
  images: LoadedImages,
): Promise<FeaturePicture[]> {
  const positions = numPositions(model.config);
  const cols = model.config.width;
  const matrix = async (of: VisionModel) => ({
    data: (await of.forward(images.pixels)).featureMap,
    rows: images.indices.length * positions,
    cols,
  });
  const trained = await matrix(model);
  const own = componentColoursPerImage(trained, positions);
  const joint = componentColoursJoint(trained, positions);
  const initial = componentColoursJoint(await matrix(untrained), positions);
  const [height, width] = model.config.grid;
  const grid = (data: Uint8Array | undefined): Pixels => ({ data: data ?? new Uint8Array(), width, height });
  return images.indices.map((_, image) => ({
    image: pixelsOf(images, image, model.imageSize[0]),
    perImage: grid(own[image]),
    joint: grid(joint[image]),
    initial: grid(initial[image]),
  }));
}

function pixelsOf(images: LoadedImages, image: number, size: number): Pixels {
  const bytes = size * size * 3;
  return { data: images.pixels.subarray(image * bytes, (image + 1) * bytes), width: size, height: size };
}
