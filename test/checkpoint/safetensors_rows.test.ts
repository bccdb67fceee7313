import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { type RowsPlan, writeSafetensorsRows } from '../../lib/checkpoint/safetensors_rows.js';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'capi-rows-'));
  path = join(folder, 'a.safetensors');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

const plan: RowsPlan = {
  tensors: [
    { name: 'big', dtype: 'f32', shape: [5, 2] },
    { name: 'none', dtype: 'f32', shape: [0, 2] },
    { name: 'small', dtype: 'u8', shape: [3] },
    { name: 'one', dtype: 'f32', shape: [] },
  ],
  mostRows: 7,
  metadata: { names: 'abcdefg' },
};

/** Rows [first, first + count) of the tensors, a few bytes that differ. */
function rows(first: number, count: number): Uint8Array[] {
  return [40, 0, 3, 4].map((bytes, tensor) =>
    Uint8Array.from({ length: count * bytes }, (_, i) => 64 * tensor + first * bytes + i),
  );
}

/** The same file written at once. */
async function whole(count: number, names: string): Promise<unknown> {
  const at = join(folder, 'whole');
  const values = rows(0, count);
  await writeSafetensors(
    at,
    plan.tensors.map((tensor, i) => ({
      ...tensor,
      shape: [count, ...tensor.shape],
      data: values[i] as Uint8Array,
    })),
    { names },
  );
  return content(at);
}

async function content(at: string) {
  const { entries, metadata } = await readSafetensors(at);
  return { entries, metadata };
}

test('rows appended some at a time make the file that is written at once', async () => {
  const written = await writeSafetensorsRows(path, plan, async (append) => {
    for (const [first, count] of [
      [0, 3],
      [3, 1],
      [4, 3],
    ] as const) {
      await append(count, rows(first, count));
    }
    return { names: 'abcdefg' };
  });
  expect(await content(path)).toEqual(await whole(7, 'abcdefg'));
  const bytes = await readFile(path);
  expect(written).toEqual({ rows: 7, bytes: bytes.byteLength });
  expect(bytes.equals(await readFile(join(folder, 'whole')))).toBe(true);
});

test.each([0, 1, 4, 6])('with %d rows of the seven promised, the tensors move together', async (count) => {
  const names = 'abcdefg'.slice(0, count);
  const { bytes } = await writeSafetensorsRows(path, plan, async (append) => {
    for (let row = 0; row < count; row++) await append(1, rows(row, 1));
    return { names };
  });
  expect(await content(path)).toEqual(await whole(count, names));
  expect((await readFile(path)).byteLength).toBe(bytes);
});

test('tensors longer than one move are moved whole', async () => {
  const shape = [3 << 19]; // 6 MB a row
  const long: RowsPlan = {
    tensors: [
      { name: 'first', dtype: 'f32', shape: [1] },
      { name: 'second', dtype: 'f32', shape },
    ],
    mostRows: 3,
    metadata: {},
  };
  const row = (value: number) =>
    new Uint8Array(Float32Array.from({ length: 3 << 19 }, (_, i) => value + (i % 1000)).buffer);
  await writeSafetensorsRows(path, long, async (append) => {
    for (const value of [1, 2]) await append(1, [new Uint8Array(4).fill(value), row(value)]);
    return {};
  });
  const { entries } = await readSafetensors(path);
  expect(entries[0]?.data).toEqual(Uint8Array.from([1, 1, 1, 1, 2, 2, 2, 2]));
  expect(Buffer.from(entries[1]!.data).equals(Buffer.concat([row(1), row(2)]))).toBe(true);
});

test.each([
  ['when the work fails', () => Promise.reject(new Error('stopped'))],
  ['when rows are of another size', (append: Append) => append(2, rows(0, 1))],
  ['when there are more than promised', (append: Append) => append(8, rows(0, 8))],
  ['when the metadata grew', async () => ({ names: 'a'.repeat(100) })],
])('what stood there stays, and nothing else, %s', async (_, write) => {
  await writeFile(path, 'before');
  await expect(writeSafetensorsRows(path, plan, write as never)).rejects.toThrow();
  expect(await readFile(path, 'utf8')).toBe('before');
  expect(await readdir(folder)).toEqual(['a.safetensors']);
});

type Append = (count: number, values: readonly Uint8Array[]) => Promise<void>;
