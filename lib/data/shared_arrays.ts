/** Copies of lists in shared memory, so that every data worker reads the same bytes. */
import type { PackedStrings } from './image_source.js';

export function sharedInt32(values: ArrayLike<number>): Int32Array {
  const shared = new Int32Array(new SharedArrayBuffer(values.length * 4));
  shared.set(values);
  return shared;
}

export function sharedFloat64(values: ArrayLike<number>): Float64Array {
  const shared = new Float64Array(new SharedArrayBuffer(values.length * 8));
  shared.set(values);
  return shared;
}

export function sharedBytes(values: Uint8Array): Uint8Array {
  const shared = new Uint8Array(new SharedArrayBuffer(values.length));
  shared.set(values);
  return shared;
}

export function packStrings(strings: readonly string[]): PackedStrings {
  const offsets = new Float64Array(new SharedArrayBuffer((strings.length + 1) * 8));
  let end = 0;
  strings.forEach((text, i) => {
    end += Buffer.byteLength(text);
    offsets[i + 1] = end;
  });
  const bytes = new Uint8Array(new SharedArrayBuffer(end));
  const view = Buffer.from(bytes.buffer);
  strings.forEach((text, i) => {
    view.write(text, offsets[i] as number);
  });
  return { bytes, offsets };
}

export function unpackString(packed: PackedStrings, index: number): string {
  const begin = packed.offsets[index];
  const end = packed.offsets[index + 1];
  return Buffer.from(packed.bytes.buffer).toString('utf8', begin, end);
}
