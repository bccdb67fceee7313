/** Whole images for inference: decoded and resized to a square, antialiased bicubic. */
import type { BadImageReport } from '../data/bad_images.js';
import { imageError, isBadImage, reason } from '../data/data_errors.js';
import { decodeImage } from '../data/decode.js';
import type { ImageSource, RgbImage } from '../data/image_source.js';
import { ops } from '../tensor/ops.js';

export interface LoadedImages {
  /** u8 [images, size, size, 3] */
  readonly pixels: Uint8Array;
  /** Images left out. */
  readonly bad: readonly BadImageReport[];
  /** Index in the source of each image that was loaded. */
  readonly indices: readonly number[];
}

/** Images `indices` of a source; bad ones are left out and named. A failure of the system or the program is thrown. */
export async function loadImages(
  source: ImageSource,
  indices: readonly number[],
  size: number,
): Promise<LoadedImages> {
  const pixels = new Uint8Array(indices.length * size * size * 3);
  const loaded: number[] = [];
  const bad: BadImageReport[] = [];
  for (const index of indices) {
    const out = pixels.subarray(loaded.length * size * size * 3, (loaded.length + 1) * size * size * 3);
    let image: RgbImage;
    try {
      image = await decodeImage(await source.read(index), source.describe(index));
    } catch (error) {
      const fault = imageError(source.describe(index), error);
      if (!isBadImage(fault)) throw fault;
      bad.push({ index, reason: reason(fault) });
      continue;
    }
    resize(image, out, size);
    loaded.push(index);
  }
  return { pixels: pixels.subarray(0, loaded.length * size * size * 3), bad, indices: loaded };
}

function resize({ pixels, height, width }: RgbImage, out: Uint8Array, size: number): void {
  ops.resizeCrop({
    image: pixels,
    height,
    width,
    top: 0,
    left: 0,
    boxHeight: height,
    boxWidth: width,
    out,
    outHeight: size,
    outWidth: size,
  });
}
