/** IDX files, the format of the MNIST family: all images in memory, grey replicated to three channels. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { dataError, reason } from './data_errors.js';
import type { IdxDescriptor, ImageSource, RgbImage } from './image_source.js';
import { sharedBytes, sharedInt32 } from './shared_arrays.js';

export interface IdxOptions {
  /** Black pixels added on every side: 2 makes 28×28 into 32×32. */
  readonly pad: number;
}

/** Reads images, and labels from the file beside it (…images-idx3… → …labels-idx1…) where there is one. */
export function readIdx(path: string, { pad }: IdxOptions): IdxDescriptor {
  const { sizes, values } = readArray(path);
  const [length = 0, height = 0, width = 0, channels = 1] = sizes;
  if (sizes.length < 3 || sizes.length > 4 || !(channels === 1 || channels === 3)) {
    throw dataError(
      `Expected an IDX file of images [count, height, width] or [count, height, width, 3] but received ` +
        `[${sizes.join(', ')}] in ${path}. Give the images file, not the labels.`,
    );
  }
  if (length === 0 || height === 0 || width === 0) {
    throw dataError(`Expected at least one image but received [${sizes.join(', ')}] in ${path}`);
  }
  const labels = readLabels(path, length);
  const count = labels.reduce((most, label) => Math.max(most, label + 1), 0);
  return {
    kind: 'idx',
    path,
    classes: Array.from({ length: count }, (_, label) => String(label)),
    length,
    height,
    width,
    channels,
    pad,
    pixels: sharedBytes(values),
    labels: sharedInt32(labels),
  };
}

/** The images file of a folder that holds a data set of the MNIST family, or undefined. */
export function findIdxImages(folder: string, split: 'train' | 'test'): string | undefined {
  const prefix = split === 'train' ? 'train' : 't10k';
  const names = [`${prefix}-images-idx3-ubyte`, `${prefix}-images.idx3-ubyte`].flatMap((n) => [n, `${n}.gz`]);
  return names.map((name) => join(folder, name)).find((path) => existsSync(path));
}

export class IdxImages implements ImageSource {
  readonly length: number;
  readonly classes: readonly string[];

  constructor(readonly descriptor: IdxDescriptor) {
    this.length = descriptor.length;
    this.classes = descriptor.classes;
  }

  describe(index: number): string {
    return `${this.descriptor.path}, image ${index}`;
  }

  read(index: number): RgbImage {
    const { height, width, channels, pad, pixels } = this.descriptor;
    const [paddedHeight, paddedWidth] = [height + 2 * pad, width + 2 * pad];
    const out = new Uint8Array(paddedHeight * paddedWidth * 3);
    let from = index * height * width * channels;
    for (let y = 0; y < height; y++) {
      let to = ((y + pad) * paddedWidth + pad) * 3;
      if (channels === 3) {
        out.set(pixels.subarray(from, from + width * 3), to);
        from += width * 3;
        continue;
      }
      for (let x = 0; x < width; x++, to += 3) {
        const grey = pixels[from++] as number;
        out[to] = grey;
        out[to + 1] = grey;
        out[to + 2] = grey;
      }
    }
    return { height: paddedHeight, width: paddedWidth, pixels: out };
  }

  label(index: number): number | undefined {
    return this.descriptor.labels[index];
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

function readLabels(imagesPath: string, length: number): Uint8Array {
  const name = basename(imagesPath)
    .replace('images', 'labels')
    .replace('idx3', 'idx1')
    .replace('idx4', 'idx1');
  const path = join(dirname(imagesPath), name);
  const other = path.endsWith('.gz') ? path.slice(0, -3) : `${path}.gz`;
  const found = [path, other].find((candidate) => candidate !== imagesPath && existsSync(candidate));
  if (found === undefined) return new Uint8Array(0);
  const { sizes, values } = readArray(found);
  if (sizes.length !== 1 || sizes[0] !== length) {
    throw dataError(`Expected ${length} labels but received [${sizes.join(', ')}] in ${found}`);
  }
  return values;
}

/** Two zero bytes, the type (8: unsigned byte), the number of axes, their sizes as big-endian 32-bit, the values. */
function readArray(path: string): { sizes: number[]; values: Uint8Array } {
  const bytes = readMaybeGzipped(path);
  const axes = bytes[3] ?? 0;
  if (
    bytes.length < 4 ||
    bytes.readUInt16BE(0) !== 0 ||
    bytes[2] !== 8 ||
    axes < 1 ||
    bytes.length < 4 + 4 * axes
  ) {
    throw dataError(
      `Expected an IDX file of unsigned bytes (starting with 00 00 08) but received ` +
        `${bytes.length === 0 ? 'an empty file' : bytes.subarray(0, 4).toString('hex')} in ${path}`,
    );
  }
  const sizes = Array.from({ length: axes }, (_, axis) => bytes.readUInt32BE(4 + 4 * axis));
  const values = bytes.subarray(4 + 4 * axes);
  const expected = sizes.reduce((product, size) => product * size, 1);
  if (values.length !== expected) {
    throw dataError(
      `Expected ${expected} bytes for [${sizes.join(', ')}] but received ${values.length} in ${path}. ` +
        'The file is truncated or altered: fetch it again.',
    );
  }
  return { sizes, values };
}

function readMaybeGzipped(path: string): Buffer {
  try {
    const bytes = readFileSync(path);
    return bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
  } catch (error) {
    throw dataError(
      `Expected an IDX file, gzipped or not, at ${path} but it cannot be read: ${reason(error)}`,
      error,
    );
  }
}
