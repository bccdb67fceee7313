/** `capi features`: patch features of images, to one safetensors file. */
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { openSource } from '../data/source.js';
import { loadImages } from '../eval/load_images.js';
import { loadModel } from '../eval/vision_model.js';
import { CapiError } from '../native/errors.js';
import { bytes } from './format.js';

export interface FeaturesOptions {
  readonly output: string;
  readonly weights: string;
  readonly size?: number;
  readonly limit?: number;
  readonly batch: number;
}

export async function featuresCommand(checkpoint: string, images: string, options: FeaturesOptions) {
  const { weights } = options;
  if (weights !== 'student_ema' && weights !== 'student') {
    throw new CapiError(
      'ERR_CAPI_INVALID_ARGUMENT',
      `Expected --weights student_ema or student but received ${weights}`,
    );
  }
  using model = await loadModel(checkpoint, { weights, imageSize: options.size, batchSize: options.batch });
  const source = openSource(images);
  const [side] = model.imageSize;
  const { config } = model;
  const count = Math.min(source.length, options.limit ?? source.length);
  const loaded = await loadImages(
    source,
    Array.from({ length: count }, (_, index) => index),
    side,
  );
  await source.close();
  for (const reason of loaded.bad) console.error(`left out: ${reason}`);
  const features = await model.forward(loaded.pixels);
  const n = loaded.indices.length;
  const entry = (name: string, shape: number[], values: Float32Array) => ({
    name,
    dtype: 'f32' as const,
    shape,
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  });
  const { bytes: size } = await writeSafetensors(
    options.output,
    [
      entry('feature_map', [n, ...config.grid, config.width], features.featureMap),
      entry('registers', [n, config.registers, config.width], features.registers),
      entry('global_repr', [n, config.width], features.globalRepr),
    ],
    { images: JSON.stringify(loaded.indices.map((index) => source.describe(index))) },
  );
  console.error(`${n} images of ${side}x${side}: features in ${options.output} (${bytes(size)})`);
}
