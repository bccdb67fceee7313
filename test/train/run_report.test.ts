/** What the report of a run tells, and what it takes from its data set. */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ops } from '../../lib/tensor/ops.js';
import { METRICS_FILE_NAME } from '../../lib/train/metrics_file.js';
import { writeResolvedConfig } from '../../lib/train/resolved_config.js';
import { runReport } from '../../lib/train/run_report.js';
import { train } from '../../lib/train/trainer.js';
import { openBelow, TemporaryFolder, tarFile } from '../support/images.js';
import { tinyConfig } from '../support/tiny_run.js';

afterEach(() => jest.restoreAllMocks());

test('the data set is closed when its images cannot be loaded', async () => {
  using folder = new TemporaryFolder();
  await folder.writeImages(1);
  const content = readFileSync(join(folder.path, '0000.png'));
  const shard = folder.write('0.tar', tarFile([{ name: 'a.png', content }]));
  const config = tinyConfig(folder, [`data.dataset=${shard}`]);
  await writeResolvedConfig(config, config.train.output_dir);
  jest.spyOn(ops, 'resizeCrop').mockImplementation(() => {
    expect(openBelow(folder.path)).toBe(1);
    throw new Error('broken');
  });
  await expect(runReport(config.train.output_dir)).rejects.toThrow('broken');
  expect(openBelow(folder.path)).toBe(0);
});

test('a run that was stopped shows what is done of its steps, a finished one their number', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder);
  const steps = async () =>
    (await runReport(config.train.output_dir)).facts?.find(({ label }) => label === 'steps');
  let done = 0;
  await train(config, { stop: () => ++done === 4 });
  expect(await steps()).toEqual({ label: 'steps', value: '4 of 10' });
  await train(config);
  expect(await steps()).toEqual({ label: 'steps', value: '10' });
});

test('saves that failed are told, the last one in words', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, ['optim.total_iters=2']);
  await train(config);
  for (const iteration of [1, 2]) {
    const failure = {
      event: 'save_failed',
      iteration,
      reason: 'the disk is full (ENOSPC)',
      last_checkpoint: null,
    };
    appendFileSync(join(config.train.output_dir, METRICS_FILE_NAME), `${JSON.stringify(failure)}\n`);
  }
  const { warnings, metrics } = await runReport(config.train.output_dir);
  expect(warnings).toEqual([
    '2 saves failed, the last at iteration 2: the disk is full (ENOSPC). The last good checkpoint was none.',
  ]);
  expect(metrics?.map(({ iteration }) => iteration)).toEqual([0, 1]);
});
