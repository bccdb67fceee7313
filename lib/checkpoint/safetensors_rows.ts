/**
 * A safetensors file of tensors [rows, ...] that grow together, some rows at a time: first the header, then every row at
 * its place, so that memory does not grow with the file.
 */
import type { FileHandle } from 'node:fs/promises';
import { CapiError } from '../native/errors.js';
import { replaceAtomically, writeAll } from './durable.js';
import { encodeHeader, type TensorSpec, tensorBytes } from './safetensors.js';

export interface RowsPlan {
  /** Each with the shape of one row. */
  readonly tensors: readonly TensorSpec[];
  /** There may be fewer in the end: the tensors then move together. */
  readonly mostRows: number;
  /** Of a file with `mostRows` rows. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Adds `count` rows to every tensor; `values` holds their bytes in order of the tensors. */
export type AppendRows = (count: number, values: readonly Uint8Array[]) => Promise<void>;

/** One move of bytes within the file. */
const chunkBytes = 4 << 20;

/**
 * Writes a file atomically (see durable.ts). `write` appends the rows and returns the metadata that they have, which needs
 * at most the room of `plan.metadata`.
 */
export async function writeSafetensorsRows(
  path: string,
  plan: RowsPlan,
  write: (append: AppendRows) => Promise<Readonly<Record<string, string>>>,
): Promise<{ readonly rows: number; readonly bytes: number }> {
  const { tensors, mostRows } = plan;
  const header = encodeRowsHeader(tensors, mostRows, plan.metadata);
  const rowBytes = tensors.map(({ dtype, shape }) => tensorBytes(dtype, shape));
  /** Where tensor `number` of a file with so many rows begins; the end of the file for the number after the last. */
  const beginOf = (number: number, rows: number) =>
    rowBytes.slice(0, number).reduce((at, bytes) => at + rows * bytes, header.byteLength);
  return replaceAtomically(path, async (file) => {
    await writeAll(file, header, 0);
    let rows = 0;
    const metadata = await write(async (count, values) => {
      checkRows(plan, rows + count, count, values);
      for (const [number, bytes] of rowBytes.entries()) {
        await writeAll(file, values[number] as Uint8Array, beginOf(number, mostRows) + rows * bytes);
      }
      rows += count;
    });
    for (const [number, bytes] of rowBytes.entries()) {
      await moveBack(file, beginOf(number, mostRows), beginOf(number, rows), rows * bytes);
    }
    const bytes = beginOf(tensors.length, rows);
    await file.truncate(bytes);
    const last = encodeRowsHeader(tensors, rows, metadata, header.byteLength);
    if (last.byteLength !== header.byteLength) throw unexpected('metadata no longer than planned', 'more');
    await writeAll(file, last, 0);
    return { rows, bytes };
  });
}

function encodeRowsHeader(
  tensors: readonly TensorSpec[],
  rows: number,
  metadata: Readonly<Record<string, string>>,
  size?: number,
): Uint8Array {
  const whole = tensors.map((tensor) => ({ ...tensor, shape: [rows, ...tensor.shape] }));
  return encodeHeader(whole, metadata, size);
}

function checkRows(
  { tensors, mostRows }: RowsPlan,
  rows: number,
  count: number,
  values: readonly Uint8Array[],
): void {
  if (rows > mostRows) throw unexpected(`at most ${mostRows} rows`, `${rows}`);
  for (const [number, { name, dtype, shape }] of tensors.entries()) {
    const expected = count * tensorBytes(dtype, shape);
    const received = values[number]?.byteLength;
    if (received === expected) continue;
    throw unexpected(`${expected} bytes for ${count} rows of ${name}`, `${received}`);
  }
}

/** To an earlier place; the two may overlap. */
async function moveBack(file: FileHandle, from: number, to: number, length: number): Promise<void> {
  if (from === to) return;
  const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, length));
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, length - done), from + done);
    if (bytesRead === 0) throw unexpected(`${length} bytes at ${from}`, `${done}`);
    await writeAll(file, chunk.subarray(0, bytesRead), to + done);
    done += bytesRead;
  }
}

function unexpected(expected: string, received: string): CapiError {
  return new CapiError('ERR_CAPI_SHAPE_MISMATCH', `Expected ${expected} but received ${received}`);
}
