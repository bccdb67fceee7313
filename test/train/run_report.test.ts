/** What the report of a run takes from its data set. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ops } from '../../lib/tensor/ops.js';
import { writeResolvedConfig } from '../../lib/train/resolved_config.js';
import { runReport } from '../../lib/train/run_report.js';
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
