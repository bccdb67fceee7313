/** Inference on the CUDA kernels: the features of the CPU. */
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { asFloat32, readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { featuresCommand } from '../../lib/cli/features.js';
import { loadModel } from '../../lib/eval/vision_model.js';
import type { BackendRequest } from '../../lib/native/backend.js';
import { train } from '../../lib/train/trainer.js';
import { expectClose } from '../support/close.js';
import { TemporaryFolder } from '../support/images.js';
import { randomNumbers } from '../support/random.js';
import { tinyConfig } from '../support/tiny_run.js';

const tolerance = { atol: 2e-5, rtol: 1e-4 };
let folder: TemporaryFolder;
let checkpoint: string;

beforeAll(async () => {
  folder = new TemporaryFolder();
  checkpoint = (await train(tinyConfig(folder, ['optim.total_iters=2', 'efficiency.backend=cpu'])))
    .checkpoint;
});
afterAll(() => folder[Symbol.dispose]());
afterEach(() => jest.restoreAllMocks());

test('a loaded model gives the features of the CPU, batch by batch', async () => {
  const next = randomNumbers(5);
  const images = Uint8Array.from({ length: 5 * 16 * 16 * 3 }, () => 256 * next());
  using cpu = await loadModel(checkpoint, { batchSize: 2, backend: 'cpu' });
  using cuda = await loadModel(checkpoint, { batchSize: 2, backend: 'cuda' });
  expect([cpu.backend, cuda.backend]).toEqual(['cpu', 'cuda']);
  const [expected, actual] = [await cpu.forward(images), await cuda.forward(images)];
  for (const part of ['globalRepr', 'registers', 'featureMap'] as const) {
    expectClose(actual[part], expected[part], tolerance);
  }
});

/** The file that the command writes, and what it says. */
async function features(backend: BackendRequest) {
  const said = jest.spyOn(console, 'error').mockImplementation(() => {});
  said.mockClear();
  jest.spyOn(process.stderr, 'write').mockImplementation(() => true);
  const output = join(folder.path, `${backend}.safetensors`);
  const images = join(folder.path, 'train-images-idx3-ubyte');
  await featuresCommand(checkpoint, images, {
    output,
    weights: 'student',
    limit: 5,
    batch: 3,
    backend,
    maxBadShare: 0,
  });
  const { entries } = await readSafetensors(output);
  return { entries, said: said.mock.calls.map(([line]) => String(line)) };
}

test('the command writes the same, and says where it computed and why', async () => {
  const [cpu, cuda, auto] = [await features('cpu'), await features('cuda'), await features('auto')];
  expect(cuda.said[0]).toBe('backend cuda: asked for');
  expect(auto.said[0]).toMatch(
    /^backend cpu: the CUDA kernels have not run on a GPU yet; --backend cuda asks for them$/,
  );
  expect(cuda.entries.map(({ name }) => name)).toEqual(cpu.entries.map(({ name }) => name));
  for (const [i, entry] of cpu.entries.entries()) {
    const [actual, expected] = [asFloat32(cuda.entries[i]!), asFloat32(entry)];
    if (expected) expectClose(actual!, expected, tolerance);
    else expect(cuda.entries[i]!.data).toEqual(entry.data);
    expect(auto.entries[i]!.data).toEqual(entry.data);
  }
});
