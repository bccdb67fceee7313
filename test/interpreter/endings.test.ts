/** Processes and threads that end while kernels are in flight, and captures that fail half-way. */
import { join } from 'node:path';
import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { Replayable } from '../../lib/tensor/replayable.js';
import { train } from '../../lib/train/trainer.js';
import { runModule, workerPrelude } from '../support/addon_child.js';
import { TemporaryFolder } from '../support/images.js';
import { Tensor } from '../support/tensor.js';
import { lastTensors, metricsWithoutTimes, tinyConfig, trainInChild } from '../support/tiny_run.js';

/** Enqueues seconds of work, with a read behind it that nobody will see. `begun` resolves when the work has. */
const busy = `
  const x = Tensor.zeros([512, 512], 'f32', 'cuda');
  const y = Tensor.zeros([512, 512], 'f32', 'cuda');
  const begun = y.read();
  for (let i = 0; i < 1000; i++) ops.rmsNormForward({ x, y, eps: 1e-5 });
  y.read();`;

const busyInAGraph = `
  const x = Tensor.zeros([512, 512], 'f32', 'cuda');
  const y = Tensor.zeros([512, 512], 'f32', 'cuda');
  const graph = new addon.Graph();
  graph.begin();
  for (let i = 0; i < 10; i++) ops.rmsNormForward({ x, y, eps: 1e-5 });
  graph.end();
  const begun = y.read();
  for (let i = 0; i < 100; i++) graph.replay();
  y.read();`;

test.each([
  ['process.exit', `${busy} process.exit(7);`, 7],
  ['process.exit later', `${busy} begun.then(() => process.exit(7));`, 7],
  ['process.exit during replays', `${busyInAGraph} begun.then(() => process.exit(7));`, 7],
  ['process.exit during a capture', `new addon.Graph().begin(); process.exit(7);`, 7],
  ['an error nobody catches', `${busy} throw new RangeError('mine');`, 1],
  [
    'an end with everything disposed',
    `${busy} x[Symbol.dispose](); y[Symbol.dispose](); process.exit(0);`,
    0,
  ],
])('a process may end during work: %s', (_how, body, status) => {
  expect(runModule(body)).toMatchObject({ status, signal: null });
});

test('a worker may be terminated during work, its memory is freed, and the others go on', () => {
  const code = `${workerPrelude}
    const tensor = () => {
      const storage = new addon.Storage(512 * 512 * 4, 'cuda');
      return { storage, handle: storage.matrix(0, 'f32', 512, 512, 512) };
    };
    const [x, y] = [tensor(), tensor()];
    for (let i = 0; i < 1000; i++) addon.rmsNormForward({ x, y, eps: 1e-5 });
    y.handle.read();
    parentPort.postMessage('busy');`;
  const end = runModule(`
    for (let i = 0; i < 3; i++) {
      const worker = startWorker(${JSON.stringify(code)});
      await new Promise((resolve) => worker.once('message', resolve));
      await worker.terminate();
    }
    const x = Tensor.from([3, 4], [1, 2], 'f32', 'cuda');
    const y = Tensor.zeros([1, 2], 'f32', 'cuda');
    ops.copy({ x, y });
    console.log(...(await y.readFloats()));
    for (const tensor of [x, y]) tensor[Symbol.dispose]();
    console.log(addon.stats().deviceLiveBytes);`);
  expect(end).toMatchObject({ status: 0, signal: null, stderr: '', stdout: '3 4\n0' });
});

test('tensors that are collected without dispose are counted as leaks, and their device memory is freed behind the work', () => {
  const end = runModule(`
    const drop = () => {
      const [x, y] = [0, 1].map(() => Tensor.zeros([64, 64], 'f32', 'cuda'));
      for (let i = 0; i < 50; i++) ops.rmsNormForward({ x, y, eps: 1e-5 });
    };
    for (let i = 0; i < 4; i++) drop();
    for (let i = 0; i < 5; i++) { gc(); await new Promise(setImmediate); }
    await addon.synchronize();
    const { deviceLiveBytes, leakedStorages } = addon.stats();
    console.log(deviceLiveBytes, leakedStorages);`);
  expect(end).toMatchObject({ status: 0, signal: null, stderr: '', stdout: '0 8' });
});

test('SIGTERM saves a run on the device, which goes on to the bits of one that was never stopped', async () => {
  using folder = new TemporaryFolder();
  const settings = ['efficiency.backend=cuda', 'optim.total_iters=6', 'train.log_loss_every=3'];
  const config = tinyConfig(folder, settings);
  const calm = tinyConfig(folder, [...settings, `train.output_dir=${join(folder.path, 'calm')}`]);
  await train(calm);

  const stopped = await trainInChild(folder, config, {
    onLine: (line, child) => line === 'step 2' && child.kill('SIGTERM'),
  });
  expect(stopped).toMatchObject({ code: 0, signal: null, stderr: '' });
  expect(stopped.lines.at(-1)).toContain('"finished":false');
  await train(config);
  expect(await lastTensors(config)).toEqual(await lastTensors(calm));
  expect(metricsWithoutTimes(config)).toEqual(metricsWithoutTimes(calm));
});

describe('a capture that fails half-way throws, and the stream works on', () => {
  const refusals: readonly [what: string, refuse: (x: Tensor) => void, code: string][] = [
    ['a read', (x) => void x.handle.read(), 'ERR_CAPI_INVALID_ARGUMENT'],
    ['an allocation', () => void Tensor.zeros([4], 'f32'), 'ERR_CAPI_INVALID_ARGUMENT'],
    ['a wait', () => void addon.synchronize(), 'ERR_CAPI_INVALID_ARGUMENT'],
    ['an op on mistaken shapes', (x) => ops.copy({ x, y: x.rowRange(0, 1) }), 'ERR_CAPI_SHAPE_MISMATCH'],
  ];

  test.each(refusals)('%s', async (_what, refuse, code) => {
    using x = Tensor.from([1, 2, 3, 4], [2, 2], 'f32');
    using y = Tensor.zeros([2, 2], 'f32');
    using replayable = new Replayable('cuda');
    const sound = () => ops.copy({ x, y });
    replayable.run(sound); // op by op
    const mistaken = () => {
      sound();
      refuse(x);
    };
    expect(() => replayable.run(mistaken)).toThrow(expect.objectContaining({ code }));
    for (const values of [
      [5, 6, 7, 8],
      [9, 10, 11, 12],
    ]) {
      x.write(values);
      replayable.run(sound); // captured now
      expect([...(await y.readFloats())]).toEqual(values);
    }
  });
});
