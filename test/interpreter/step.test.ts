/** Whole training steps on the CUDA kernels: the losses and weights of the CPU, and the same bits by op and by graph. */
import type { Backend } from '../../lib/native/addon.js';
import { computeGradients, trainStep, update } from '../../lib/train/step.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { expectClose } from '../support/close.js';
import { TemporaryFolder } from '../support/images.js';
import { randomBatch, tinyConfig } from '../support/tiny_run.js';

const steps = 4;

interface Outcome {
  /** CAPI loss and clustering loss of each step. */
  readonly losses: number[];
  readonly weights: Float32Array;
}

/** The ops of trainStep one by one. */
function stepByOps(run: TrainingRun, iteration: number): void {
  run.setIteration(iteration);
  run.batch.prepare();
  run.drawDropPath();
  computeGradients(run);
  update(run);
}

async function outcome(backend: Backend, settings: readonly string[], step = trainStep): Promise<Outcome> {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, settings);
  using run = new TrainingRun(config, { backend });
  run.start();
  const losses: number[] = [];
  for (let iteration = 0; iteration < steps; iteration++) {
    run.batch.upload(randomBatch(config, 10 + iteration));
    step(run, iteration);
    const { capiLoss, clusteringLoss, nonfinite } = run.results;
    expect(await nonfinite.readFloats()).toEqual(new Float64Array([0]));
    for (const loss of [capiLoss, clusteringLoss]) losses.push(...(await loss.readFloats()));
  }
  return { losses, weights: (await run.student.flat.read()) as Float32Array };
}

const half = [
  'efficiency.param_dtype=bfloat16',
  'model.transformers_kwargs.embed_dim=64',
  'model.transformers_kwargs.block_kwargs.attn_kwargs.num_heads=1',
];

test('f32: the losses and weights of the CPU', async () => {
  const [cpu, cuda] = [await outcome('cpu', []), await outcome('cuda', [])];
  expectClose(cuda.losses, cpu.losses, { atol: 0, rtol: 1e-5 });
  expectClose(cuda.weights, cpu.weights, { atol: 2e-5, rtol: 1e-4 });
});

test('bf16 on tensor cores: the losses of the CPU', async () => {
  const [cpu, cuda] = [await outcome('cpu', half), await outcome('cuda', half)];
  expectClose(cuda.losses, cpu.losses, { atol: 0, rtol: 5e-3 });
});

test.each([
  ['f32', []],
  ['bf16', half],
] as const)('%s: a replayed graph gives the bits of the same ops one by one', async (_, settings) => {
  const [graph, ops] = [await outcome('cuda', settings), await outcome('cuda', settings, stepByOps)];
  expect(graph.losses).toEqual(ops.losses);
  expect(Buffer.from(graph.weights.buffer).equals(Buffer.from(ops.weights.buffer))).toBe(true);
});
