/** The bits of a run depend on its configuration and data, not on workers, threads or the moment. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { train } from '../../lib/train/trainer.js';
import { TemporaryFolder } from '../support/images.js';
import { lastTensors, metricsWithoutTimes, tinyConfig } from '../support/tiny_run.js';

async function tensorsOf(overrides: readonly string[]): Promise<string[]> {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, overrides);
  await train(config);
  return [...(await lastTensors(config)), JSON.stringify(metricsWithoutTimes(config))];
}

const machineries = [
  { workers: 0, threads: 1 },
  { workers: 1, threads: 2 },
  { workers: 2, threads: 3 },
  { workers: 3, threads: 1 },
];

describe.each(['float32', 'bfloat16'])('%s', (dtype) => {
  const settings = [`efficiency.param_dtype=${dtype}`, 'model.encoder_kwargs.depth=2'];
  let expected: string[];

  beforeAll(async () => {
    expected = await tensorsOf(settings);
  });

  test.each(machineries)('$workers workers and $threads threads make no difference', async (machinery) => {
    const { workers, threads } = machinery;
    const overrides = [`efficiency.dataloader_num_workers=${workers}`, `efficiency.threads=${threads}`];
    expect(await tensorsOf([...settings, ...overrides])).toEqual(expected);
  });

  test('a second run with the same seed is the same, one with another seed is not', async () => {
    expect(await tensorsOf(settings)).toEqual(expected);
    const other = await tensorsOf([...settings, 'train.seed=1']);
    const same = other.filter((tensor) => expected.includes(tensor));
    // Constants, counts of steps, and the mass since the last log line, which the last step writes.
    for (const tensor of same) expect(tensor).toMatch(/rope\.freqs|optimizer\.step|prototype_mass/);
  });
});

test('a run stopped and resumed equals one that was not', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder);
  let steps = 0;
  const first = await train(config, { stop: () => ++steps === 4 });
  expect(first).toMatchObject({ iteration: 4, finished: false });
  expect(await train(config)).toMatchObject({ iteration: 10, finished: true });
  const resumed = [...(await lastTensors(config)), JSON.stringify(metricsWithoutTimes(config))];
  expect(resumed).toEqual(await tensorsOf([]));
});

test('a finished run that is started again changes nothing, with other settings neither', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, ['optim.total_iters=3']);
  await train(config);
  const saved = async () => [
    await lastTensors(config),
    metricsWithoutTimes(config),
    readFileSync(join(config.train.output_dir, 'config.yaml'), 'utf8'),
  ];
  const before = await saved();
  const other = tinyConfig(folder, ['optim.total_iters=3', 'train.log_loss_every=1']);
  for (const again of [config, other]) {
    expect(await train(again)).toMatchObject({ iteration: 3, finished: true });
    expect(await saved()).toEqual(before);
  }
});
