/**
 * Fills a range of a batch: sample → image → box → pixels. A function of (seed, sample number, dataset) alone, whichever
 * worker runs it. A bad image is replaced by the next one of the epoch's order; the box stays the sample's own.
 */
import { ops } from '../tensor/ops.js';
import { dataError, imageError, isBadImage, reason } from './data_errors.js';
import { decodeImage } from './decode.js';
import type { ImageSource, RgbImage, StoredImage } from './image_source.js';
import { imageAt, positionOf } from './sampler.js';

export interface CropOptions {
  readonly seed: number;
  /** Side of the square crops. */
  readonly imageSize: number;
  readonly minScale: number;
  readonly maxScale: number;
  readonly minAspect: number;
  readonly maxAspect: number;
  readonly flipProbability: number;
  /** Most pixels an image may have; larger ones are bad. */
  readonly pixelLimit: number;
}

/** The arrays of one batch, in shared memory. */
export interface BatchArrays {
  readonly images: Uint8Array; // [B, S, S, 3]
  readonly flips: Uint8Array; // [B]
  readonly samples: Int32Array; // [B, 2]: low and high word of the global sample number
}

export interface BadImage {
  readonly index: number;
  readonly reason: string;
}

export interface CropRange {
  /** Rows [begin, end) of the batch. */
  readonly begin: number;
  readonly end: number;
  /** Sample number of row 0. */
  readonly firstSample: number;
}

/** So many bad images in a row are not bad luck. */
const mostReplacements = 100;

/**
 * Returns the bad images met, in order of the samples; a failure of the system or the program is thrown. `stopped` is asked
 * before each image.
 */
export async function cropSamples(
  source: ImageSource,
  options: CropOptions,
  batch: BatchArrays,
  { begin, end, firstSample }: CropRange,
  stopped: () => boolean,
): Promise<BadImage[]> {
  const bad: BadImage[][] = [];
  let next = begin;
  // Two at a time: one is decoded in the thread pool while the other is cropped here.
  const lane = async (): Promise<void> => {
    while (next < end && !stopped()) {
      const row = next++;
      const sample = firstSample + row;
      const met: BadImage[] = [];
      bad[row - begin] = met;
      const found = firstGood(source, options, sample, met);
      cropInto(batch, row, sample, found instanceof Promise ? await found : found, options);
    }
  };
  await Promise.all([lane(), lane()]);
  return bad.flat();
}

function firstGood(
  source: ImageSource,
  options: CropOptions,
  sample: number,
  met: BadImage[],
): RgbImage | Promise<RgbImage> {
  const index = imageAt(positionOf(sample, source.length), { seed: options.seed, length: source.length });
  const stored = source.read(index);
  // Plain pixels need no promise, which would cost as much as the crop of a small image.
  if ('pixels' in stored) return stored;
  return searchGood(source, options, sample, stored, met);
}

async function searchGood(
  source: ImageSource,
  { seed, pixelLimit }: CropOptions,
  sample: number,
  first: StoredImage | Promise<StoredImage>,
  met: BadImage[],
): Promise<RgbImage> {
  const { length } = source;
  const { epoch, place } = positionOf(sample, length);
  const tries = Math.min(length, mostReplacements);
  for (let skip = 0; skip < tries; skip++) {
    const index = imageAt({ epoch, place: place + skip }, { seed, length });
    try {
      const stored = skip === 0 ? first : source.read(index);
      return await decodeImage(await stored, source.describe(index), { pixelLimit });
    } catch (error) {
      const fault = imageError(source.describe(index), error);
      if (!isBadImage(fault)) throw fault;
      met.push({ index, reason: reason(fault) });
    }
  }
  throw dataError(
    `Expected images but ${tries} in a row cannot be used, such as ${met
      .slice(0, 3)
      .map((image) => image.reason)
      .join('; ')}. Check the dataset.`,
  );
}

function cropInto(
  batch: BatchArrays,
  row: number,
  sample: number,
  image: RgbImage,
  options: CropOptions,
): void {
  const { height, width, pixels } = image;
  const { seed, imageSize, minScale, maxScale, minAspect, maxAspect, flipProbability } = options;
  const box = ops.cropParameters({
    seed,
    sample,
    height,
    width,
    minScale,
    maxScale,
    minAspect,
    maxAspect,
    flipProbability,
  });
  const bytes = imageSize * imageSize * 3;
  ops.resizeCrop({
    image: pixels,
    height,
    width,
    top: box.top,
    left: box.left,
    boxHeight: box.height,
    boxWidth: box.width,
    out: batch.images.subarray(row * bytes, (row + 1) * bytes),
    outHeight: imageSize,
    outWidth: imageSize,
  });
  batch.flips[row] = box.flip ? 1 : 0;
  batch.samples[2 * row] = sample | 0;
  batch.samples[2 * row + 1] = Math.floor(sample / 2 ** 32);
}
