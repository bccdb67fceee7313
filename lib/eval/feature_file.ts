/** Features of a source's images as one safetensors file, a batch at a time: memory does not grow with their number. */
import { stat } from 'node:fs/promises';
import { type AppendRows, writeSafetensorsRows } from '../checkpoint/safetensors_rows.js';
import { BadImages } from '../data/bad_images.js';
import { dataError, isSystemError, systemError } from '../data/data_errors.js';
import type { ImageSource } from '../data/image_source.js';
import { CapiError, invalidArgument } from '../native/errors.js';
import { loadImages } from './load_images.js';
import type { VisionModel } from './vision_model.js';

export interface FeatureFileOptions {
  readonly model: VisionModel;
  readonly source: ImageSource;
  /** Images, from the first of the source on. */
  readonly count: number;
  /** Share of bad images that ends the work, from 100 images (or all of them) on. */
  readonly maxBadShare: number;
  /** Asked before each batch; true ends the work with ERR_CAPI_INTERRUPTED. */
  readonly stopped?: () => boolean;
  /** Images done, those left out included. */
  readonly onProgress?: (images: number) => void;
  /** Names an image that was left out, and why. */
  readonly onBadImage?: (reason: string) => void;
}

export interface FeatureFile {
  readonly images: number;
  readonly leftOut: number;
  readonly bytes: number;
}

/**
 * Writes `feature_map` f32 [n, rows, cols, D], `registers` f32 [n, R, D] and `global_repr` f32 [n, D]; `images` in the
 * metadata is the JSON list of the n images' names. A bad image is left out: it has neither a row nor a name there.
 * The file stands at `path` whole or not at all. Throws ERR_CAPI_DATA when too many images are bad, or all of them,
 * ERR_CAPI_INTERRUPTED, ERR_CAPI_SYSTEM (a full disk), and what reading images throws.
 */
export async function writeFeatures(path: string, options: FeatureFileOptions): Promise<FeatureFile> {
  const { model, source, count } = options;
  if (await isFolder(path)) throw invalidArgument('the output', 'the path of a file, not of a folder', path);
  const { grid, registers, width } = model.config;
  const names = Array.from({ length: count }, (_, index) => source.describe(index));
  const plan = {
    tensors: [
      { name: 'feature_map', dtype: 'f32', shape: [...grid, width] },
      { name: 'registers', dtype: 'f32', shape: [registers, width] },
      { name: 'global_repr', dtype: 'f32', shape: [width] },
    ],
    mostRows: count,
    metadata: { images: JSON.stringify(names) },
  } as const;
  try {
    const { rows, bytes } = await writeSafetensorsRows(path, plan, async (append) => {
      const written = await appendFeatures(append, options);
      return { images: JSON.stringify(written.map((index) => names[index])) };
    });
    return { images: rows, leftOut: count - rows, bytes };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw systemError(
      `write ${path}`,
      error,
      'Free space or name a file in a folder that may be written, then start again.',
    );
  }
}

/** Returns the indices of the images written. */
async function appendFeatures(append: AppendRows, options: FeatureFileOptions): Promise<number[]> {
  const { model, source, count, maxBadShare, stopped, onProgress, onBadImage } = options;
  const [side] = model.imageSize;
  const bad = new BadImages({
    datasetLength: count,
    maxBadShare,
    setting: '--max-bad-share',
    report: ({ reason }) => onBadImage?.(reason),
  });
  const written: number[] = [];
  for (let first = 0; first < count; first += model.batchSize) {
    if (stopped?.()) {
      throw new CapiError(
        'ERR_CAPI_INTERRUPTED',
        `Stopped after ${first} of ${count} images; nothing was written`,
      );
    }
    const end = Math.min(first + model.batchSize, count);
    const indices = Array.from({ length: end - first }, (_, i) => first + i);
    const images = await loadImages(source, indices, side);
    bad.add(images.indices.length, images.bad);
    const { featureMap, registers, globalRepr } = await model.forward(images.pixels);
    await append(images.indices.length, [featureMap, registers, globalRepr].map(bytesOf));
    written.push(...images.indices);
    onProgress?.(end);
  }
  if (written.length === 0) {
    throw dataError(
      `Expected at least one image that can be used but received none of ${count}. Repair them.`,
    );
  }
  return written;
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
