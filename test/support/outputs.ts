/** Tensors to be written by an op under test, and the check that it does not matter how work is spread. */
import { once } from 'node:events';
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { addon } from '../../lib/native/addon.js';
import type { Dtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { backend, Tensor } from './tensor.js';

/** Filled with NaN, or with -1 in integer dtypes: what an op does not write shows. */
export function poisoned(shape: readonly number[], dtype: Dtype): Tensor {
  const size = shape.reduce((product, length) => product * length, 1);
  const value = dtype === 'i32' ? -1 : dtype === 'u8' ? 255 : Number.NaN;
  return Tensor.from(new Array<number>(size).fill(value), shape, dtype);
}

/** For comparing many elements: toEqual on long arrays takes seconds. */
export async function bytesOf(tensor: Tensor): Promise<Buffer> {
  return Buffer.from((await tensor.read()).buffer);
}

/** Runs `run`, which returns the outputs of an op, with 1, 2 and 3 threads: the bytes must agree. */
export async function expectSameBytesForAnyThreads(run: () => readonly Tensor[]): Promise<void> {
  const before = addon.threads();
  try {
    const seen: string[] = [];
    for (const threads of [1, 2, 3]) {
      addon.setThreads(threads);
      seen.push(await outputsOf(run));
    }
    expect(seen[1]).toBe(seen[0]);
    expect(seen[2]).toBe(seen[0]);
  } finally {
    addon.setThreads(before);
  }
}

/**
 * Registers the test that the bytes of an op's outputs do not depend on how its work is spread: over threads on the CPU, in
 * which order over blocks and threads on CUDA.
 */
export function testSameBytes(run: () => readonly Tensor[]): void {
  if (backend === 'cpu') {
    test('gives the same bytes for 1, 2 and 3 threads', () => expectSameBytesForAnyThreads(run));
    return;
  }
  test('gives the same bytes with blocks and threads in reverse order', async () => {
    const forward = await outputsOf(run);
    expect(await inReverseOrder(() => outputsOf(run))).toBe(forward);
  });
}

/** What `run` gives when the interpreter takes blocks and threads in reverse order; on a GPU nothing is different. */
export async function inReverseOrder<T>(run: () => Promise<T>): Promise<T> {
  await setOrder('reverse');
  try {
    return await run();
  } finally {
    await setOrder('forward');
  }
}

async function setOrder(order: 'forward' | 'reverse'): Promise<void> {
  await setVariable('CAPI_INTERPRETER_ORDER', order);
  if (addon.cuda().interpreted) expect(await orderOfThreads()).toBe(order);
}

/**
 * In which order kernels run now, by what one does: it copies rows onto the next ones, a row a thread. Forward each finds what
 * the one before it wrote, and the first row goes all the way.
 */
async function orderOfThreads(): Promise<'forward' | 'reverse'> {
  using rows = Tensor.from([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], [3, 4], 'f32');
  ops.cast({ x: rows.rowRange(0, 2), y: rows.rowRange(1, 3) });
  return (await rows.readFloats()).at(-1) === 0 ? 'forward' : 'reverse';
}

/** Of the process's environment, which native code reads. What tests see as process.env is jest's copy of it. */
async function setVariable(name: string, value: string): Promise<void> {
  const code = `process.env['${name}'] = '${value}'`;
  await once(new Worker(code, { eval: true, env: SHARE_ENV }), 'exit');
}

async function outputsOf(run: () => readonly Tensor[]): Promise<string> {
  const outputs = run();
  const bytes = await Promise.all(outputs.map(bytesOf));
  for (const tensor of outputs) tensor[Symbol.dispose]();
  return bytes.map((buffer) => buffer.toString('base64')).join('|');
}
