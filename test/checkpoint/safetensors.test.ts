import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  asFloat32,
  digestFile,
  readSafetensors,
  type TensorEntry,
  writeSafetensors,
} from '../../lib/checkpoint/safetensors.js';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'capi-safetensors-'));
  path = join(folder, 'a.safetensors');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function f32(name: string, shape: readonly number[], values: readonly number[]): TensorEntry {
  return { name, dtype: 'f32', shape, data: new Uint8Array(new Float32Array(values).buffer) };
}

/** A file with any header over any bytes. */
function raw(header: unknown, data: Uint8Array = new Uint8Array(), claimed?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(json.byteLength));
  return Buffer.concat([length, json, data]);
}

const entries: readonly TensorEntry[] = [
  f32('a.weight', [2, 3], [1, -2, 3.5, 0, Number.POSITIVE_INFINITY, 6]),
  { name: 'b', dtype: 'bf16', shape: [3], data: new Uint8Array([1, 2, 3, 4, 5, 6]) },
  { name: 'c', dtype: 'f64', shape: [], data: new Uint8Array(new Float64Array([Math.PI]).buffer) },
  { name: 'd', dtype: 'i32', shape: [1, 1], data: new Uint8Array(new Int32Array([-7]).buffer) },
  { name: 'e', dtype: 'i64', shape: [1], data: new Uint8Array(new BigInt64Array([-7n]).buffer) },
  { name: 'f', dtype: 'u8', shape: [5], data: new Uint8Array([1, 2, 3, 4, 255]) },
  { name: 'empty', dtype: 'f32', shape: [0, 4], data: new Uint8Array() },
  f32('0', [1], [9]),
];

test('what is written is read back, in any order, with its digest', async () => {
  const digest = await writeSafetensors(path, entries, { note: 'ü' });
  const file = await readSafetensors(path);
  const byName = (a: TensorEntry, b: TensorEntry) => a.name.localeCompare(b.name);
  expect([...file.entries].sort(byName)).toEqual([...entries].sort(byName));
  expect(file.metadata).toEqual({ note: 'ü' });
  const bytes = await readFile(path);
  expect(digest).toEqual({
    bytes: bytes.byteLength,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  expect(file).toMatchObject(digest);
  expect(await digestFile(path)).toEqual(digest);
  expect(await readdir(folder)).toEqual(['a.safetensors']);
});

test('tensors begin at a multiple of 8 bytes and are read into memory of their own', async () => {
  await writeSafetensors(path, entries);
  const { dataStart, entries: read } = await readSafetensors(path);
  expect(dataStart % 8).toBe(0);
  expect([...asFloat32(read.find(({ name }) => name === 'a.weight')!)]).toEqual([1, -2, 3.5, 0, Infinity, 6]);
  expect(new Set(read.map(({ data }) => data.buffer)).size).toBe(read.length);
});

test('a view into a larger buffer is written as the view', async () => {
  const whole = new Float32Array([0, 1, 2, 3]);
  const data = new Uint8Array(whole.buffer, 4, 8);
  await writeSafetensors(path, [{ name: 'v', dtype: 'f32', shape: [2], data }]);
  expect([...asFloat32((await readSafetensors(path)).entries[0]!)]).toEqual([1, 2]);
});

test('only selected tensors are kept, and the digest is still that of the file', async () => {
  const digest = await writeSafetensors(path, entries);
  const file = await readSafetensors(path, (name) => name === 'f');
  expect(file.entries.map(({ name }) => name)).toEqual(['f']);
  expect(file.sha256).toBe(digest.sha256);
});

test('entries that contradict themselves are refused before anything is written', async () => {
  await expect(writeSafetensors(path, [f32('a', [3], [1, 2])])).rejects.toMatchObject({
    code: 'ERR_CAPI_SHAPE_MISMATCH',
  });
  await expect(writeSafetensors(path, [f32('a', [1], [1]), f32('a', [1], [2])])).rejects.toMatchObject({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
  });
  expect(await readdir(folder)).toEqual([]);
});

test('a header longer than readers take is refused before anything is written', async () => {
  await expect(writeSafetensors(path, entries, { note: 'x'.repeat(100_000_000) })).rejects.toMatchObject({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
    message: expect.stringMatching(/at most 100000000 bytes .* write fewer/),
  });
  expect(await readdir(folder)).toEqual([]);
});

test('a missing file has its own code', async () => {
  await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_NOT_FOUND' });
});

const ok = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
const eight = new Uint8Array(8);

test.each<[string, Buffer]>([
  ['empty', Buffer.alloc(0)],
  ['shorter than its length field', Buffer.alloc(5)],
  ['with a header longer than the file', raw({ a: ok }, eight, 10_000n)],
  ['with a header of 2^63 bytes', raw({ a: ok }, eight, 1n << 63n)],
  ['whose header is not JSON', raw('{"a": ', eight)],
  ['whose header is not UTF-8', Buffer.concat([raw('"'), Buffer.from([0xff])])],
  ['whose header is a list', raw([1, 2])],
  ['whose header is null', raw('null')],
  ['with a tensor that is a number', raw({ a: 3 }, eight)],
  ['with an unknown dtype', raw({ a: { ...ok, dtype: 'F99' } }, eight)],
  ['with a dtype from the prototype', raw({ a: { ...ok, dtype: 'constructor' } }, eight)],
  ['with a negative size', raw({ a: { ...ok, shape: [-2] } }, eight)],
  ['with a fraction as size', raw({ a: { ...ok, shape: [0.5, 4] } }, eight)],
  ['with text as size', raw({ a: { ...ok, shape: ['2'] } }, eight)],
  ['with a shape that is no list', raw({ a: { ...ok, shape: { length: 1, 0: 2 } } }, eight)],
  ['with sizes whose product overflows', raw({ a: { ...ok, shape: [2 ** 52, 2 ** 52, 2 ** 52] } }, eight)],
  [
    'with overflow times zero',
    raw({
      a: {
        ...ok,
        shape: Array(40)
          .fill(2 ** 50)
          .concat(0),
        data_offsets: [0, 0],
      },
    }),
  ],
  ['with offsets reversed', raw({ a: { ...ok, data_offsets: [8, 0] } }, eight)],
  ['with one offset', raw({ a: { ...ok, data_offsets: [0] } }, eight)],
  ['with offsets past the end', raw({ a: { ...ok, data_offsets: [8, 16] } }, eight)],
  ['with a range of another size than its shape', raw({ a: { ...ok, data_offsets: [0, 4] } }, eight)],
  ['with overlapping tensors', raw({ a: ok, b: { ...ok, data_offsets: [4, 12] } }, new Uint8Array(12))],
  ['with a hole between tensors', raw({ a: ok, b: { ...ok, data_offsets: [12, 20] } }, new Uint8Array(20))],
  [
    'with one name twice',
    raw(
      `{"a":${JSON.stringify(ok)},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`,
      new Uint8Array(16),
    ),
  ],
  ['truncated', raw({ a: ok }, new Uint8Array(7))],
  ['with bytes after its end', raw({ a: ok }, new Uint8Array(9))],
  ['with metadata that is not text', raw({ __metadata__: { a: 1 }, a: ok }, eight)],
  ['with metadata that is null', raw({ __metadata__: null, a: ok }, eight)],
])('a file %s is a coded error', async (_what, bytes) => {
  await writeFile(path, bytes);
  await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_CORRUPT' });
});

test('a folder in place of the file is a coded error', async () => {
  await expect(readSafetensors(folder)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_CORRUPT' });
});

test('a file cut at any length, or with any header byte changed, never crashes', async () => {
  await writeSafetensors(path, entries, { note: 'x' });
  const whole = await readFile(path);
  for (let length = 0; length < whole.byteLength; length += 3) {
    await writeFile(path, whole.subarray(0, length));
    await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_CORRUPT' });
  }
  for (let index = 0; index < whole.byteLength; index += 5) {
    const changed = Buffer.from(whole);
    changed[index] = (changed[index]! + 97) % 256;
    await writeFile(path, changed);
    const outcome = await readSafetensors(path).then(
      () => 'read',
      (error) => error.code,
    );
    expect(['read', 'ERR_CAPI_CHECKPOINT_CORRUPT']).toContain(outcome); // data bytes may change; names and sizes may not
  }
});
