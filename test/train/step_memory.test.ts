/** Memory is planned before a run and flat during it. */
import { addon } from '../../lib/native/addon.js';
import { planTraining } from '../../lib/train/plan.js';
import { trainStep } from '../../lib/train/step.js';
import { train } from '../../lib/train/trainer.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { TemporaryFolder } from '../support/images.js';
import { randomBatch, tinyConfig } from '../support/tiny_run.js';

let folder: TemporaryFolder;

beforeEach(() => {
  folder = new TemporaryFolder();
});

afterEach(() => folder[Symbol.dispose]());

/** Two sizes below and above the pages that memory comes in, and the variants with buffers of their own. */
const variants = [
  [],
  ['efficiency.param_dtype=bfloat16', 'model.predictor=self'],
  ['model.predictor=fused', 'capi.clustering_kwargs.positionwise_sk=false'],
  ['capi.loss_variant=ema_head', 'efficiency.threads=3'],
  ['capi.target_source=pixels', 'capi.loss_variant=mlp_head'],
  ['model.transformers_kwargs.embed_dim=128', 'model.encoder_kwargs.depth=3', 'capi.num_clusters=1000'],
];

/** Storage comes in pages of 4 KiB, from 2 MiB on in pages of 2 MiB. */
function inPages(bytes: number): number {
  const page = bytes >= 2 ** 21 ? 2 ** 21 : 4096;
  return Math.max(1, Math.ceil(bytes / page)) * page;
}

test.each(variants.map((overrides) => [overrides.join(' ') || 'the method itself', overrides] as const))(
  'what is planned is what is allocated, and no step allocates after the first: %s',
  async (_name, overrides) => {
    const config = tinyConfig(folder, overrides);
    addon.setThreads(config.efficiency.threads);
    const before = addon.stats();
    const { memory } = planTraining(config);
    expect(addon.stats()).toEqual(before);
    const { peak, ...parts } = memory;
    expect(peak).toBe(Object.values(parts).reduce((sum, part) => sum + part, 0));

    using run = new TrainingRun(config);
    run.start();
    const planned = Object.values(parts).reduce((sum, part) => sum + inPages(part), 0);
    expect(addon.stats().liveBytes - before.liveBytes).toBe(planned);

    const step = async (iteration: number) => {
      run.batch.upload(randomBatch(config, iteration));
      trainStep(run, iteration);
      await run.results.capiLoss.read();
    };
    await step(0);
    const first = addon.stats();
    for (let iteration = 1; iteration <= 50; iteration++) await step(iteration);
    expect(addon.stats()).toEqual(first);
    expect(first.liveBytes - before.liveBytes).toBe(planned + first.scratchBytes - before.scratchBytes);

    run[Symbol.dispose]();
    await addon.synchronize();
    const { liveBytes, scratchBytes, leakedStorages } = addon.stats();
    expect(liveBytes - scratchBytes).toBe(before.liveBytes - before.scratchBytes);
    expect(leakedStorages).toBe(0);
  },
);

test('a run that ends, well or badly, gives everything back', async () => {
  const held = () => addon.stats().liveBytes - addon.stats().scratchBytes;
  const before = held();
  await train(tinyConfig(folder, ['optim.total_iters=2']));
  expect(held()).toBe(before);
  await expect(train(tinyConfig(folder, ['optim.batch_size_per_gpu=41']))).rejects.toThrow();
  expect(held()).toBe(before);
  expect(addon.stats().leakedStorages).toBe(0);
});
