/** Five hundred steps of configs/demo.yaml by the trainer, on images drawn here: a host with a GPU may have no data set. */
import { join } from 'node:path';
import { loadConfig } from '../../lib/config/load.js';
import { stepsOverrides } from '../../lib/config/run_length.js';
import { addon } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { type StepReport, train } from '../../lib/train/trainer.js';
import { idxFile, TemporaryFolder } from '../support/images.js';
import { randomNumbers } from '../support/random.js';
import { smallDemo } from './small_demo.js';

const { interpreted } = addon.cuda();
const steps = interpreted ? 8 : 500;
const images = interpreted ? 64 : 2000;
const size = 32;

/** [images, size, size]: on noise, an upright or a lying bar or a disc, of any size, place and brightness. */
function shapes(): Uint8Array {
  const next = randomNumbers(11);
  const pixels = Uint8Array.from({ length: images * size * size }, () => 60 * next());
  const between = (low: number, high: number) => low + (high - low) * next();
  for (let image = 0; image < images; image++) {
    const [x, y, radius, brightness] = [between(8, 24), between(8, 24), between(4, 9), between(120, 255)];
    const [width, height] = [
      [radius / 3, radius],
      [radius, radius / 3],
      [radius, radius],
    ][image % 3] as [number, number];
    for (let row = 0; row < size; row++) {
      for (let col = 0; col < size; col++) {
        const distance = Math.hypot((col - x) / width, (row - y) / height);
        if (distance <= 1) pixels[(image * size + row) * size + col] = brightness;
      }
    }
  }
  return pixels;
}

async function demo(folder: TemporaryFolder) {
  const path = join(packageRoot(), 'configs', 'demo.yaml');
  const settings = [
    'efficiency.backend=cuda',
    'efficiency.dataloader_num_workers=0',
    `data.dataset=${folder.write('train-images-idx3-ubyte', idxFile([images, size, size], shapes()))}`,
    `train.output_dir=${join(folder.path, 'run')}`,
    ...(interpreted ? smallDemo : []),
  ];
  const { config } = await loadConfig(path, settings);
  return (await loadConfig(path, [...settings, ...stepsOverrides(config, steps)])).config;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

test(`in ${steps} steps every loss is finite and the clustering loss falls`, async () => {
  using folder = new TemporaryFolder();
  const reports: StepReport[] = [];
  const result = await train(await demo(folder), { onStep: (report) => reports.push(report) });
  expect(result).toMatchObject({ iteration: steps, finished: true, skippedSteps: 0 });
  const losses = reports.map(({ clusteringLoss }) => clusteringLoss);
  for (const { capiLoss, clusteringLoss, targetEntropy } of reports) {
    expect([capiLoss, clusteringLoss, targetEntropy].filter(Number.isFinite)).toHaveLength(3);
  }
  const quarter = Math.ceil(steps / 4);
  expect(mean(losses.slice(-quarter))).toBeLessThan(mean(losses.slice(0, quarter)));
});
