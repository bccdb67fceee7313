/** Runs on a device that is too small: refused before anything is allocated, or when scratch no longer fits; never a half run. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../lib/config/schema.js';
import { addon } from '../../lib/native/addon.js';
import { planTraining } from '../../lib/train/plan.js';
import { train } from '../../lib/train/trainer.js';
import { runModule } from '../support/addon_child.js';
import { TemporaryFolder } from '../support/images.js';
import { lastTensors, metricsWithoutTimes, tinyConfig, trainInChild } from '../support/tiny_run.js';

const onCuda = 'efficiency.backend=cuda';
const planned = (config: Config, images: number) =>
  planTraining({ ...config, optim: { ...config.optim, batch_size_per_gpu: images } }).memory.peak;

let folder: TemporaryFolder;
beforeEach(() => {
  folder = new TemporaryFolder();
});
afterEach(() => folder[Symbol.dispose]());

/** The last line of a run on a device with so much memory. */
async function errorWith(bytes: number, config: Config): Promise<string> {
  const end = await trainInChild(folder, config, { env: { CAPI_INTERPRETER_BYTES: String(bytes) } });
  expect(end).toMatchObject({ code: 1, signal: null, stderr: '' });
  expect(end.lines.filter((line) => line.startsWith('step'))).toEqual([]);
  return end.lines.at(-1) as string;
}

const parts = 'for weights, EMA and copies, .* for gradients, .* for the optimizer and .* for activations\\.';

test('a plan that does not fit is refused with its parts and the largest batch that fits', async () => {
  const config = tinyConfig(folder, [onCuda]);
  const error = await errorWith(planned(config, 4), config);
  expect(error).toMatch(
    new RegExp(
      '^error ERR_CAPI_OUT_OF_MEMORY Expected .* of device memory but (.*) of \\1 are free on interpreter\\. ' +
        `A step of 6 images needs .* ${parts} A batch of 4 fits: optim\\.batch_size_per_gpu=4$`,
    ),
  );
  expect(existsSync(config.train.output_dir)).toBe(false);
});

test('the plan is that of the device, which takes more logits at a time than the CPU', async () => {
  const config = tinyConfig(folder, [onCuda, 'capi.num_clusters=200000']);
  const needed = planned(config, 6);
  expect(needed).toBeGreaterThan(planTraining(config, 'cpu').memory.peak);
  expect(await errorWith(needed - 1, config)).toMatch(
    /^error ERR_CAPI_OUT_OF_MEMORY Expected .* of device memory/,
  );
});

test('where not even one image fits, a smaller batch is not what is advised', async () => {
  const config = tinyConfig(folder, [onCuda]);
  expect(await errorWith(planned(config, 1) - 1, config)).toMatch(
    /Not even one image fits: take a smaller model/,
  );
});

test('scratch that no longer fits beside the plan ends the run with the same advice', async () => {
  const config = tinyConfig(folder, [onCuda]);
  expect(await errorWith(planned(config, 6) + 100, config)).toMatch(
    new RegExp(
      '^error ERR_CAPI_OUT_OF_MEMORY \\[storage\\] Expected \\d+ bytes of device memory but \\d+ of \\d+ are free; ' +
        'this process has \\d+ and had \\d+ at its peak\\. The run stopped in iteration 0\\. There is no checkpoint yet\\. ' +
        `A step of 6 images needs .* ${parts} (A batch of [1-5] fits|Not even)`,
    ),
  );
});

test('a run that finds no room when it goes on keeps its checkpoint, and ends with the bits of one that always had it', async () => {
  const settings = [onCuda, 'optim.total_iters=4', 'train.log_loss_every=2'];
  const config = tinyConfig(folder, settings);
  const calm = tinyConfig(folder, [...settings, `train.output_dir=${join(folder.path, 'calm')}`]);
  await train(calm);

  let steps = 0;
  const { checkpoint } = await train(config, { stop: () => ++steps === 2 });
  expect(await errorWith(planned(config, 6) + 100, config)).toContain(
    `The run stopped in iteration 2. The last good checkpoint is ${checkpoint}; the same command continues from it. A step of`,
  );
  await train(config);
  expect(await lastTensors(config)).toEqual(await lastTensors(calm));
  expect(metricsWithoutTimes(config)).toEqual(metricsWithoutTimes(calm));
});

test('host memory that cannot be page-locked for copies is memory that ran out', () => {
  const { stdout } = runModule(
    `
    const x = Tensor.from([1, 2, 3, 4], [4], 'f32', 'cuda');
    console.log(await addon.synchronize().catch(({ code, message }) => code + ' ' + message));`,
    { CAPI_INTERPRETER_PINNED: '15' },
  );
  expect(stdout).toMatch(
    /^ERR_CAPI_OUT_OF_MEMORY \[cuda\] cudaMallocHost\(.*\) failed: cudaErrorMemoryAllocation/,
  );
});

test('the peak that a run tells is that of the device', async () => {
  const config = tinyConfig(folder, [onCuda, 'optim.total_iters=2']);
  const { peakBytes } = await train(config);
  expect(peakBytes).toBe(addon.stats().devicePeakBytes);
  expect(peakBytes).toBeGreaterThanOrEqual(planned(config, 6));
});
