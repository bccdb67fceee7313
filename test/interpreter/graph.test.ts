/** CUDA graphs through the addon, on a GPU or on the interpreter's stand-in for the CUDA runtime. */
import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { Replayable } from '../../lib/tensor/replayable.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const [rows, cols] = [5, 24];
const values = (seed: number) => randomNormal(rows * cols, seed);

function pair() {
  return { x: Tensor.from(values(1), [rows, cols], 'f32'), y: Tensor.zeros([rows, cols], 'f32') };
}

const normalize = ({ x, y }: { x: Tensor; y: Tensor }) => ops.rmsNormForward({ x, y, eps: 1e-5 });

/** What the op gives when it is not part of a graph. */
async function eager(x: Float32Array): Promise<Float32Array> {
  using from = Tensor.from(x, [rows, cols], 'f32');
  using to = Tensor.zeros([rows, cols], 'f32');
  normalize({ x: from, y: to });
  return (await to.read()) as Float32Array;
}

test('a graph is recorded without running, and each replay works on what the tensors hold then', async () => {
  const { x, y } = pair();
  const graph = new addon.Graph();
  graph.begin();
  normalize({ x, y });
  graph.end();
  expect(await y.read()).toEqual(new Float32Array(rows * cols));
  for (const seed of [2, 3]) {
    x.write(values(seed));
    graph.replay();
    expect(await y.read()).toEqual(await eager(values(seed)));
  }
  graph.dispose();
  for (const tensor of [x, y]) tensor[Symbol.dispose]();
});

test('reading, writing, allocating, waiting and a second graph are refused while recording', async () => {
  const { x, y } = pair();
  const graph = new addon.Graph();
  graph.begin();
  const refused = expect.objectContaining({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
    message: expect.stringContaining('while a graph is captured'),
  });
  expect(() => x.write(values(4))).toThrow(refused);
  await expect(x.read()).rejects.toThrow(refused);
  expect(() => addon.synchronize()).toThrow(refused);
  expect(() => Tensor.zeros([4], 'f32')).toThrow(refused);
  expect(() => new addon.Graph().begin()).toThrow(refused);
  graph.end();
  graph.dispose();
  expect(await x.read()).toEqual(values(1));
  for (const tensor of [x, y]) tensor[Symbol.dispose]();
});

test('a fixed sequence runs op by op, then is captured, with the same bits', async () => {
  const { x, y } = pair();
  using replayable = new Replayable('cuda');
  let enqueued = 0;
  for (let i = 0; i < 4; i++) {
    replayable.run(() => {
      enqueued += 1;
      normalize({ x, y });
    });
    expect(await y.read()).toEqual(await eager(values(1)));
  }
  expect(enqueued).toBe(2);
  for (const tensor of [x, y]) tensor[Symbol.dispose]();
});

test('a graph keeps the memory of its tensors, and lets go of it when disposed', async () => {
  await addon.synchronize();
  const before = addon.stats().deviceLiveBytes;
  const { x, y } = pair();
  const graph = new addon.Graph();
  graph.begin();
  normalize({ x, y });
  graph.end();
  for (const tensor of [x, y]) tensor[Symbol.dispose]();
  graph.replay();
  await addon.synchronize();
  expect(addon.stats().deviceLiveBytes).toBeGreaterThanOrEqual(before + 2 * rows * cols * 4);
  graph.dispose();
  await addon.synchronize();
  expect(addon.stats().deviceLiveBytes).toBe(before);
  expect(() => graph.replay()).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DISPOSED' }));
});

test('more memory than the device has is refused with both numbers', () => {
  const elements = addon.cuda().devices[0]!.totalBytes / 2;
  expect(() => Tensor.zeros([elements], 'f32')).toThrow(
    expect.objectContaining({
      code: 'ERR_CAPI_OUT_OF_MEMORY',
      message: expect.stringMatching(
        new RegExp(
          `Expected ${4 * elements} bytes of device memory but \\d+ of \\d+ are free; this process has \\d+ and had \\d+ at its peak`,
        ),
      ),
    }),
  );
});
