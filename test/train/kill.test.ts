/** `kill -9` at any moment: what is resumed ends in the same bits as what was never stopped. */
import { join } from 'node:path';
import { train } from '../../lib/train/trainer.js';
import { TemporaryFolder } from '../support/images.js';
import { randomNumbers } from '../support/random.js';
import { lastTensors, metricsWithoutTimes, tinyConfig, trainInChild } from '../support/tiny_run.js';

const kills = 20;
/** No life is longer than 8 steps and a bit, so the run cannot end before the last kill. */
const settings = ['optim.total_iters=200', 'train.checkpointing.period=2', 'train.log_loss_every=3'];

test('a run killed at 20 random moments ends in the bits of an uninterrupted one', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, settings);
  const uninterrupted = tinyConfig(folder, [...settings, `train.output_dir=${join(folder.path, 'calm')}`]);
  await train(uninterrupted);

  const next = randomNumbers(20);
  const starts: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    const life = await trainInChild(folder, config, { dieAfterSteps: 1 + 7 * next() });
    expect(life).toMatchObject({ signal: 'SIGKILL', stderr: '' });
    starts.push(Number(life.lines.find((line) => line.startsWith('start'))?.split(' ')[1]));
  }
  expect(starts.at(-1)).toBeGreaterThan(10); // they were killed on the way, not before it
  expect(starts).toEqual([...starts].sort((a, b) => a - b));
  await train(config);
  expect(await lastTensors(config)).toEqual(await lastTensors(uninterrupted));
  expect(metricsWithoutTimes(config)).toEqual(metricsWithoutTimes(uninterrupted));
}, 180_000);
