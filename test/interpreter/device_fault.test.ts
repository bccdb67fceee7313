/** A kernel that faults while a run trains: what is said, what is left, and that the rest of the run is as if it had not been. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { train } from '../../lib/train/trainer.js';
import { runModule } from '../support/addon_child.js';
import { TemporaryFolder } from '../support/images.js';
import { lastTensors, metricsWithoutTimes, tinyConfig, trainInChild } from '../support/tiny_run.js';

const fault = (launch: number) => ({ CAPI_INTERPRETER_FAULT: String(launch) });

test('the first error names the ops that may be to blame, and each later use gets it at once', () => {
  const { stdout, stderr, status } = runModule(
    `
    const x = Tensor.zeros([4, 8], 'f32', 'cuda');
    const y = Tensor.zeros([4, 8], 'f32', 'cuda');
    ops.zero({ x });
    await addon.synchronize(); // what was waited for is above suspicion
    ops.cast({ x, y });
    ops.rmsNormForward({ x, y, eps: 1e-5 });
    const attempts = [
      () => addon.synchronize(),
      () => ops.cast({ x, y }),
      () => y.read(),
      () => Tensor.zeros([1], 'f32', 'cuda'),
      () => new addon.Graph().begin(),
    ];
    const errors = [];
    for (const attempt of attempts) {
      try { errors.push(await attempt()); } catch ({ code, message }) { errors.push([code, message]); }
    }
    const worker = startWorker(
      "require('node:worker_threads').parentPort.postMessage((() => { const addon = require(process.env.CAPI_ADDON); " +
      "try { new addon.Storage(1, 'cuda'); } catch ({ code, message }) { return [code, message]; } })())");
    errors.push(await new Promise((resolve) => worker.once('message', resolve)));
    console.log(JSON.stringify({ errors, report: addon.cuda() }));`,
    fault(2),
  );
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  const { errors, report } = JSON.parse(stdout);
  expect(new Set(errors.map(String)).size).toBe(1);
  expect(errors).toHaveLength(6);
  const [code, message] = errors[0];
  expect(code).toBe('ERR_CAPI_CUDA');
  expect(message).toMatch(
    /^\[cuda\] Expected the device to run cast, rms_norm_forward but one of these ops faulted: .*cudaErrorLaunchFailure.*\. This process cannot use the device again; start another, under NVIDIA's compute-sanitizer to learn which kernel it was$/,
  );
  expect(report).toMatchObject({ lost: true, problem: expect.stringContaining(message) });
});

test('an op that ran alone since the last wait is named as the one', () => {
  const { stdout } = runModule(
    `
    const [x, y] = [0, 1].map(() => Tensor.zeros([4, 8], 'f32', 'cuda'));
    ops.cast({ x, y });
    console.log(await addon.synchronize().catch(({ message }) => message));`,
    fault(1),
  );
  expect(stdout).toMatch(/^\[cuda\] Expected the device to run cast but it faulted: /);
});

const settings = [
  'efficiency.backend=cuda',
  'optim.total_iters=6',
  'train.checkpointing.period=2',
  'train.log_loss_every=3',
];

test('a run that loses its device keeps its last checkpoint, and goes on from it to the same bits', async () => {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, settings);
  const calm = tinyConfig(folder, [...settings, `train.output_dir=${join(folder.path, 'calm')}`]);
  await train(calm);

  const life = await trainInChild(folder, config, { env: fault(450) }); // a step is about 115 launches
  const steps = life.lines.filter((line) => line.startsWith('step')).length;
  expect(steps).toBeGreaterThan(2); // in a graph, after a checkpoint
  expect(steps).toBeLessThan(config.optim.total_iters);
  expect(life).toMatchObject({ code: 1, signal: null, stderr: '' });
  expect(life.lines.at(-1)).toMatch(
    new RegExp(
      `^error ERR_CAPI_CUDA \\[cuda\\] Expected the device to run .*a replayed graph.* The run stopped in iteration ${steps}\\. ` +
        'The last good checkpoint is .*; the same command continues from it$',
    ),
  );

  const resumed = await trainInChild(folder, config);
  expect(resumed.lines).toContain(`start ${steps - (steps % 2)}`);
  expect(await lastTensors(config)).toEqual(await lastTensors(calm));
  expect(metricsWithoutTimes(config)).toEqual(metricsWithoutTimes(calm));
});

test('the command says so and ends with 1', () => {
  using folder = new TemporaryFolder();
  tinyConfig(folder);
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      '--import',
      'tsx',
      'lib/cli/main.ts',
      'train',
      'configs/tiny.yaml',
      `data.dataset=${folder.path}/train-images-idx3-ubyte`,
      `train.output_dir=${folder.path}/run`,
      'optim.batch_size_per_gpu=2',
      'efficiency.backend=cuda',
    ],
    { encoding: 'utf8', env: { ...process.env, ...fault(1) } },
  );
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error: \[cuda\] Expected the device .* \[ERR_CAPI_CUDA\]$/m);
});
