/**
 * The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps. Files are
 * streamed tensor by tensor, so 10 GB need no 10 GB buffer; every field of a header is checked before it is believed.
 */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { CapiError, invalidArgument } from '../native/errors.js';
import { replaceAtomically, writeAll } from './durable.js';

export type TensorDtype = 'f32' | 'bf16' | 'f64' | 'i32' | 'i64' | 'u8';

export interface TensorSpec {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
}

export interface TensorEntry extends TensorSpec {
  /** Row-major, little-endian; `product(shape) * bytes(dtype)` long. */
  readonly data: Uint8Array;
}

export interface TensorInfo extends TensorSpec {
  /** Bytes [begin, end) after the header. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the tensors' bytes begin in the file. */
  readonly dataStart: number;
}

export interface FileDigest {
  readonly bytes: number;
  /** SHA-256 of the whole file, in hexadecimal. */
  readonly sha256: string;
}

export interface SafetensorsFile extends SafetensorsHeader, FileDigest {
  readonly entries: TensorEntry[];
}

const NAMES = { f32: 'F32', bf16: 'BF16', f64: 'F64', i32: 'I32', i64: 'I64', u8: 'U8' } as const;
const SIZES: Readonly<Record<TensorDtype, number>> = { f32: 4, bf16: 2, f64: 8, i32: 4, i64: 8, u8: 1 };
const DTYPES = new Map<unknown, TensorDtype>(
  Object.entries(NAMES).map(([dtype, name]) => [name, dtype as TensorDtype]),
);

/** The reference implementation's limit. */
const MAX_HEADER_BYTES = 100_000_000;
/** One write and one update of the hash; small enough that the event loop stays responsive. */
const CHUNK_BYTES = 4 << 20;

/**
 * Writes a file atomically (see durable.ts) and returns its digest, computed on the way. The entries' bytes must not
 * change until the promise settles.
 */
export async function writeSafetensors(
  path: string,
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<FileDigest> {
  for (const entry of entries) checkSize(entry);
  const header = encodeHeader(entries, metadata);
  return replaceAtomically(path, async (file) => {
    const hash = createHash('sha256');
    let bytes = 0;
    for (const part of [header, ...entries.map((entry) => entry.data)]) {
      for (const chunk of chunks(part)) {
        const writing = writeAll(file, chunk);
        hash.update(chunk); // while the write is under way
        await writing;
        bytes += chunk.byteLength;
      }
    }
    return { bytes, sha256: hash.digest('hex') };
  });
}

/** Reads a file with its digest. `select` says which tensors to keep; the others are hashed and forgotten. */
export async function readSafetensors(
  path: string,
  select: (name: string) => boolean = () => true,
): Promise<SafetensorsFile> {
  return withFile(path, async (file, size) => {
    const hash = createHash('sha256');
    const header = await readHeader(file, size, path, hash);
    const scratch = Buffer.allocUnsafe(CHUNK_BYTES);
    const entries: TensorEntry[] = [];
    for (const { name, dtype, shape, begin, end } of header.tensors) {
      const kept = select(name);
      // Its own allocation: aligned for typed arrays, and freed with the tensor.
      const data = kept ? new Uint8Array(end - begin) : undefined;
      for (let done = 0; done < end - begin; ) {
        const length = Math.min(CHUNK_BYTES, end - begin - done);
        const chunk = data?.subarray(done, done + length) ?? scratch.subarray(0, length);
        await readExactly(file, chunk, header.dataStart + begin + done, path);
        hash.update(chunk);
        done += length;
      }
      if (data !== undefined) entries.push({ name, dtype, shape, data });
    }
    return { ...header, entries, bytes: size, sha256: hash.digest('hex') };
  });
}

/** The digest alone, streamed. */
export async function digestFile(path: string): Promise<FileDigest> {
  return withFile(path, async (file, size) => {
    const hash = createHash('sha256');
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let done = 0; done < size; ) {
      const part = chunk.subarray(0, Math.min(CHUNK_BYTES, size - done));
      await readExactly(file, part, done, path);
      hash.update(part);
      done += part.byteLength;
    }
    return { bytes: size, sha256: hash.digest('hex') };
  });
}

/** Checks the header of `size` bytes of file; `path` is for messages. */
export function parseHeader(json: Uint8Array, size: number, path: string): SafetensorsHeader {
  const dataStart = 8 + json.byteLength;
  const root = parseJson(json, path);
  const metadata: Record<string, string> = {};
  const tensors: TensorInfo[] = [];
  for (const [name, value] of Object.entries(root)) {
    if (name === '__metadata__') Object.assign(metadata, checkMetadata(value, path));
    else tensors.push(checkTensor(name, value, path));
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const { name, begin, end } of tensors) {
    if (begin !== expected) {
      throw corrupt(path, `the bytes of ${name} begin at ${begin}, those before it end at ${expected}`);
    }
    expected = end;
  }
  if (dataStart + expected !== size) {
    const what = size < dataStart + expected ? 'truncated' : 'too long';
    throw corrupt(path, `it is ${what}: ${size} bytes, its header describes ${dataStart + expected}`);
  }
  return { tensors, metadata, dataStart };
}

/** Bytes of a tensor of that shape. */
export function tensorBytes(dtype: TensorDtype, shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, SIZES[dtype]);
}

/** A view of an f32 tensor's bytes. */
export function asFloat32(entry: TensorEntry): Float32Array {
  if (entry.dtype !== 'f32') {
    throw new CapiError(
      'ERR_CAPI_DTYPE_MISMATCH',
      `Expected f32 for ${entry.name} but received ${entry.dtype}`,
    );
  }
  const { buffer, byteOffset, byteLength } = entry.data;
  if (byteOffset % 4 === 0) return new Float32Array(buffer, byteOffset, byteLength / 4);
  return new Float32Array(entry.data.slice().buffer);
}

/** The length and the JSON, padded with spaces to at least `size` bytes. */
export function encodeHeader(
  tensors: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>>,
  size = 0,
): Uint8Array {
  const fields: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) fields.push(['__metadata__', metadata]);
  const seen = new Set(['__metadata__']);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (seen.has(name)) throw invalidArgument('entries', 'a different name for each tensor', name);
    seen.add(name);
    const end = begin + tensorBytes(dtype, shape);
    fields.push([name, { dtype: NAMES[dtype], shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(fields)), 'utf8');
  // A multiple of 8, so that tensors are aligned when a file is mapped.
  const padded = Math.max(Math.ceil(json.byteLength / 8) * 8, size - 8);
  if (padded > MAX_HEADER_BYTES) {
    throw new CapiError(
      'ERR_CAPI_INVALID_ARGUMENT',
      `Expected names, shapes and metadata of at most ${MAX_HEADER_BYTES} bytes but received ${padded}: write fewer to one file`,
    );
  }
  const header = Buffer.alloc(8 + padded, 0x20);
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

function checkSize({ name, dtype, shape, data }: TensorEntry): void {
  const expected = tensorBytes(dtype, shape);
  if (data.byteLength === expected) return;
  throw new CapiError(
    'ERR_CAPI_SHAPE_MISMATCH',
    `Expected ${expected} bytes for ${name} ${dtype} [${shape.join(', ')}] but received ${data.byteLength}`,
  );
}

async function readHeader(
  file: FileHandle,
  size: number,
  path: string,
  hash: Hash,
): Promise<SafetensorsHeader> {
  if (size < 8) throw corrupt(path, `it has ${size} bytes`);
  const prefix = Buffer.alloc(8);
  await readExactly(file, prefix, 0, path);
  const length = prefix.readBigUInt64LE(0);
  if (length > BigInt(Math.min(size - 8, MAX_HEADER_BYTES))) {
    throw corrupt(path, `its header claims ${length} bytes, the file has ${size}`);
  }
  const json = Buffer.alloc(Number(length));
  await readExactly(file, json, 8, path);
  hash.update(prefix).update(json);
  return parseHeader(json, size, path);
}

function parseJson(json: Uint8Array, path: string): object {
  let root: unknown;
  try {
    root = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (cause) {
    throw corrupt(path, 'its header is not JSON', cause);
  }
  if (root === null || typeof root !== 'object' || Array.isArray(root)) {
    throw corrupt(path, 'its header is not a JSON object');
  }
  return root;
}

function checkMetadata(value: unknown, path: string): Record<string, string> {
  const isRecord = value !== null && typeof value === 'object' && !Array.isArray(value);
  if (!isRecord || Object.values(value).some((text) => typeof text !== 'string')) {
    throw corrupt(path, '__metadata__ is not a mapping of text to text');
  }
  return value as Record<string, string>;
}

function checkTensor(name: string, value: unknown, path: string): TensorInfo {
  const fields = (value !== null && typeof value === 'object' ? value : {}) as Record<string, unknown>;
  const dtype = DTYPES.get(fields.dtype);
  if (dtype === undefined) {
    throw corrupt(
      path,
      `${name} has dtype ${JSON.stringify(fields.dtype)}, expected ${[...DTYPES.keys()].join(', ')}`,
    );
  }
  const { shape, data_offsets: offsets } = fields;
  if (!isSizes(shape)) throw corrupt(path, `${name} has shape ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw corrupt(path, `${name} has data_offsets ${JSON.stringify(offsets)}`);
  }
  const [begin = 0, end = 0] = offsets;
  const bytes = tensorBytes(dtype, shape);
  // Sizes beyond 2^53 lose bits here, but no file is that long and the comparison fails.
  if (end - begin !== bytes) {
    throw corrupt(
      path,
      `${name} ${dtype} [${shape.join(', ')}] needs ${bytes} bytes, its range has ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

async function withFile<T>(path: string, body: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CapiError(
      'ERR_CAPI_CHECKPOINT_NOT_FOUND',
      missing ? `There is no file ${path}` : `Cannot open ${path}: ${String(cause)}`,
      { cause },
    );
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw corrupt(path, 'it is not a regular file');
    return await body(file, stat.size);
  } finally {
    await file.close();
  }
}

async function readExactly(
  file: FileHandle,
  into: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  let done = 0;
  while (done < into.byteLength) {
    const { bytesRead } = await file.read(into, done, into.byteLength - done, position + done);
    if (bytesRead === 0) throw corrupt(path, `it ends at byte ${position + done}`);
    done += bytesRead;
  }
}

function* chunks(bytes: Uint8Array): Generator<Uint8Array> {
  for (let begin = 0; begin < bytes.byteLength; begin += CHUNK_BYTES) {
    yield bytes.subarray(begin, begin + CHUNK_BYTES);
  }
}

function corrupt(path: string, why: string, cause?: unknown): CapiError {
  const options = cause === undefined ? undefined : { cause };
  return new CapiError(
    'ERR_CAPI_CHECKPOINT_CORRUPT',
    `${path} is not a sound safetensors file: ${why}`,
    options,
  );
}
