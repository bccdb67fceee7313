/** `capi plan`: what a run will need, without running it. */

import { loadConfig } from '../config/load.js';
import { bytes } from '../native/bytes.js';
import { planTraining } from '../train/plan.js';
import { count, table } from './format.js';
import { printConfigNotes } from './notes.js';

export async function planCommand(path: string, overrides: readonly string[], options: { json?: boolean }) {
  const loaded = await loadConfig(path, overrides, 'command line');
  const plan = planTraining(loaded.config);
  if (options.json) {
    console.log(JSON.stringify(plan));
    return;
  }
  printConfigNotes(loaded);
  const { backend, parameters, memory, flopsPerImage: flops, patches, images } = plan;
  const gflop = (value: number) => (value / 1e9).toPrecision(4);
  console.log(
    table([
      ['parameters', ''],
      ['  encoder', count(parameters.encoder)],
      ['  predictor', count(parameters.predictor)],
      ['  patch embedding, registers, mask token', count(parameters.tokens)],
      ['  student head', count(parameters.studentHead)],
      ['  clustering head', count(parameters.clusteringHead)],
      [`memory, ${images} images a step on ${backend}`, ''],
      ['  weights, EMA, copies', bytes(memory.parameters)],
      ['  gradients', bytes(memory.gradients)],
      ['  optimizer', bytes(memory.optimizer)],
      ['  activations', bytes(memory.activations)],
      ['  peak', bytes(memory.peak)],
      ['GFLOP an image', ''],
      ['  teacher forward', gflop(flops.teacher)],
      ['  student encoder, forward and backward', gflop(flops.studentEncoder)],
      ['  predictor, forward and backward', gflop(flops.predictor)],
      ['  clustering head', gflop(flops.clusteringHead)],
      ['  student head, patch embeddings', gflop(flops.studentHeadAndPatches)],
      ['  total', gflop(flops.total)],
      ['patches an image', ''],
      ['  all, visible, predicted', `${patches.all}, ${patches.visible}, ${patches.predicted}`],
    ]),
  );
}
