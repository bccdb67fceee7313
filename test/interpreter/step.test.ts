/** Whole training steps on the CUDA kernels: the losses and weights of the CPU, and the same bits by op and by graph. */
import type { Backend } from '../../lib/native/addon.js';
import { expectClose } from '../support/close.js';
import { TemporaryFolder } from '../support/images.js';
import {
  expectSameBits,
  type StepOutcome,
  type Steps,
  stepByOps,
  stepOutcome,
} from '../support/step_outcome.js';
import { tinyConfig } from '../support/tiny_run.js';

function outcome(backend: Backend, settings: readonly string[], step?: Steps['step']): Promise<StepOutcome> {
  using folder = new TemporaryFolder();
  return stepOutcome(tinyConfig(folder, settings), { backend, steps: 4, ...(step ? { step } : {}) });
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
  expectSameBits(await outcome('cuda', settings), await outcome('cuda', settings, stepByOps));
});
