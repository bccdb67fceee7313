/** Several JavaScript environments in one process, and ends at awkward moments. */
import { runModule, workerPrelude } from '../support/addon_child.js';

const sound = { status: 0, signal: null, stderr: '' };

/** A worker that multiplies ones and posts the sum of the result. */
const multiplying = `${workerPrelude}
  const a = matrix(96, 96);
  const c = matrix(96, 96);
  a.handle.write(new Float32Array(96 * 96).fill(1));
  for (let i = 0; i < 20; i++) addon.gemm({ a, b: a, c });
  c.handle.read().then((bytes) => {
    const sum = new Float32Array(bytes).reduce((total, value) => total + value, 0);
    if (workerData !== 'keep') for (const { storage } of [a, c]) storage.dispose();
    parentPort.postMessage(sum);
  });`;

test('worker threads load the addon at once and compute side by side', () => {
  const end = runModule(`
    const code = ${JSON.stringify(multiplying)};
    const sums = await Promise.all(Array.from({ length: 6 }, () => new Promise((resolve, reject) => {
      const worker = startWorker(code);
      let sum;
      worker.on('message', (value) => { sum = value; });
      worker.on('error', reject);
      worker.on('exit', () => resolve(sum));
    })));
    console.log(JSON.stringify([sums, addon.stats()]));`);
  expect(end).toMatchObject(sound);
  const [sums, stats] = JSON.parse(end.stdout);
  expect(sums).toEqual(new Array(6).fill(96 ** 3));
  expect(stats.leakedStorages).toBe(0);
  // What is left is scratch of the pool; that of the workers' own threads went with them.
  expect(stats.liveBytes).toBe(stats.scratchBytes);
});

test('a worker that ends without dispose is counted, and its memory is freed', () => {
  const end = runModule(`
    const worker = startWorker(${JSON.stringify(multiplying)}, 'keep');
    await new Promise((resolve) => worker.on('exit', resolve));
    console.log(JSON.stringify(addon.stats()));`);
  expect(end).toMatchObject(sound);
  const stats = JSON.parse(end.stdout);
  expect(stats.leakedStorages).toBe(2);
  expect(stats.liveBytes).toBe(stats.scratchBytes);
});

test('storages that are collected without dispose are counted as leaks; disposed ones are not', () => {
  const end = runModule(`
    const count = (dispose) => {
      for (let i = 0; i < 50; i++) {
        const storage = new addon.Storage(1 << 20);
        storage.matrix(0, 'u8', 1, 5, 5);
        if (dispose) storage.dispose();
      }
    };
    const collect = async () => {
      for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 1)); }
      return addon.stats();
    };
    count(true);
    const first = await collect();
    count(false);
    const second = await collect();
    console.log(JSON.stringify([first, second]));`);
  expect(end).toMatchObject(sound);
  const [first, second] = JSON.parse(end.stdout);
  expect(first).toMatchObject({ leakedStorages: 0, liveBytes: 0 });
  expect(second.leakedStorages).toBeGreaterThan(40);
});

/** Enqueues a second of work, with a read behind it that nobody will see. `begun` resolves when the work has. */
const busy = `
  const a = Tensor.zeros([768, 768], 'f32');
  const c = Tensor.zeros([768, 768], 'f32');
  const begun = c.read();
  for (let i = 0; i < 50; i++) ops.gemm({ a, b: a, c });
  c.read();`;

test.each([
  ['process.exit', `${busy} process.exit(7);`, 7],
  ['process.exit later', `${busy} begun.then(() => process.exit(7));`, 7],
  ['an error nobody catches', `${busy} throw new RangeError('mine');`, 1],
])('a process may end during work: %s', (_how, body, status) => {
  expect(runModule(body)).toMatchObject({ status, signal: null });
});

test('a process with nothing left to wait for ends by itself', () => {
  expect(runModule(`ops.zero({ x: Tensor.zeros([8, 8], 'f32') });`)).toMatchObject({ ...sound, stdout: '' });
});

test('a worker may be terminated during work, and the others go on', () => {
  const code = `${workerPrelude}
    const a = matrix(512, 512);
    const c = matrix(512, 512);
    for (let i = 0; i < 200; i++) addon.gemm({ a, b: a, c });
    c.handle.read();
    addon.synchronize();
    parentPort.postMessage('busy');`;
  const end = runModule(`
    for (let i = 0; i < 3; i++) {
      const worker = startWorker(${JSON.stringify(code)});
      await new Promise((resolve) => worker.once('message', resolve));
      await worker.terminate();
    }
    const a = Tensor.from(new Float32Array(64 * 64).fill(1), [64, 64], 'f32');
    const c = Tensor.zeros([64, 64], 'f32');
    ops.gemm({ a, b: a, c });
    console.log((await c.readFloats())[0]);
    for (const tensor of [a, c]) tensor[Symbol.dispose]();
    const { liveBytes, scratchBytes } = addon.stats();
    console.log(liveBytes - scratchBytes);`);
  expect(end).toMatchObject({ ...sound, stdout: '64\n0' });
});

test('the number of threads may change while another thread computes', () => {
  const code = `${workerPrelude}
    const a = matrix(128, 128);
    const c = matrix(128, 128);
    a.handle.write(new Float32Array(128 * 128).fill(1));
    for (let i = 0; i < 300; i++) addon.gemm({ a, b: a, c });
    c.handle.read().then((bytes) => parentPort.postMessage(new Float32Array(bytes)[5]));`;
  const end = runModule(`
    const worker = startWorker(${JSON.stringify(code)});
    let result;
    worker.once('message', (value) => { result = value; });
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    for (let i = 0; result === undefined; i++) {
      addon.setThreads(1 + (i % 4));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await gone;
    console.log(result);`);
  expect(end).toMatchObject({ ...sound, stdout: '128' });
});
