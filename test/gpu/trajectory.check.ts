/** Twenty steps of the demo's network: one graph gives the bits of the same ops one by one, and in f32 the losses of the CPU. */
import { join } from 'node:path';
import { loadConfig } from '../../lib/config/load.js';
import { addon } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { expectClose } from '../support/close.js';
import { expectSameBits, stepByOps, stepOutcome } from '../support/step_outcome.js';
import { smallDemo } from './small_demo.js';

const { interpreted } = addon.cuda();
const steps = interpreted ? 3 : 20;

async function config(dtype: string) {
  const settings = [`efficiency.param_dtype=${dtype}`, ...(interpreted ? smallDemo : [])];
  return (await loadConfig(join(packageRoot(), 'configs', 'demo.yaml'), settings)).config;
}

test.each(['float32', 'bfloat16'])('%s: a graph gives the bits of the same ops one by one', async (dtype) => {
  const settings = await config(dtype);
  const graph = await stepOutcome(settings, { backend: 'cuda', steps });
  expectSameBits(graph, await stepOutcome(settings, { backend: 'cuda', steps, step: stepByOps }));
});

test('float32: the losses of the CPU', async () => {
  const settings = await config('float32');
  const cpu = await stepOutcome(settings, { backend: 'cpu', steps });
  const cuda = await stepOutcome(settings, { backend: 'cuda', steps });
  // Weights that round differently drift apart; what was the same problem stays close.
  expectClose(cuda.losses, cpu.losses, { atol: 0, rtol: 1e-3 });
});
