/** Bad input and faults: a clear error, and nothing lost. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { saveCheckpoint } from '../../lib/checkpoint/checkpoint.js';
import type { Config } from '../../lib/config/schema.js';
import { ops } from '../../lib/tensor/ops.js';
import { METRICS_FILE_NAME, readSaveFailures } from '../../lib/train/metrics_file.js';
import { computeGradients, trainStep, update } from '../../lib/train/step.js';
import { type TrainOptions, type TrainResult, train } from '../../lib/train/trainer.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { TemporaryFolder } from '../support/images.js';
import { bytesOf } from '../support/outputs.js';
import { lastCheckpoint, lastTensors, randomBatch, tinyConfig, trainInChild } from '../support/tiny_run.js';

let folder: TemporaryFolder;

beforeEach(() => {
  folder = new TemporaryFolder();
});

afterEach(() => folder[Symbol.dispose]());

const coded = (code: string, ...parts: readonly string[]) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(parts.map((part) => `(?=[^]*${escaped(part)})`).join(''))),
  });

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

interface Told {
  readonly result: TrainResult;
  readonly notes: readonly string[];
}

async function trainAndListen(config: Config, onStep?: TrainOptions['onStep']): Promise<Told> {
  const notes: string[] = [];
  const listener = { onNote: (note: string) => notes.push(note), ...(onStep ? { onStep } : {}) };
  return { result: await train(config, listener), notes };
}

const checkpoints = (config: Config) => join(config.train.output_dir, 'checkpoints');

describe('data', () => {
  test('a missing folder is named', async () => {
    const config = tinyConfig(folder, [`data.dataset=${folder.path}/nowhere`]);
    await expect(train(config)).rejects.toEqual(coded('ERR_CAPI_DATA', 'nowhere'));
  });

  test('a folder without images is named', async () => {
    mkdirSync(join(folder.path, 'empty'));
    const config = tinyConfig(folder, [`data.dataset=${folder.path}/empty`]);
    await expect(train(config)).rejects.toEqual(coded('ERR_CAPI_DATA', 'empty'));
  });

  test('a batch larger than the data set is refused with both numbers', async () => {
    const config = tinyConfig(folder, ['optim.batch_size_per_gpu=41']);
    await expect(train(config)).rejects.toEqual(coded('ERR_CAPI_DATA', '41', '40'));
  });

  test.each([
    ['a backend that is not there', 'ERR_CAPI_BACKEND_UNAVAILABLE', ['efficiency.backend=cuda']],
    ['data that is not there', 'ERR_CAPI_DATA', ['data.dataset=/nowhere']],
    ['a batch larger than the data set', 'ERR_CAPI_DATA', ['optim.batch_size_per_gpu=41']],
    [
      'a teacher that is not there',
      'ERR_CAPI_CHECKPOINT_NOT_FOUND',
      ['capi.target_source=frozen_teacher', 'capi.teacher_weights=/nowhere'],
    ],
  ])('%s: nothing is written', async (_what, code, overrides) => {
    const output = join(folder.path, 'runs', 'first');
    const config = tinyConfig(folder, [...overrides, `train.output_dir=${output}`]);
    await expect(train(config)).rejects.toEqual(coded(code));
    expect(existsSync(join(folder.path, 'runs'))).toBe(false);
  });

  test('a first batch that cannot be read leaves a folder as it was', async () => {
    for (let i = 0; i < 8; i++) folder.write(`images/${i}.png`, 'this is no picture');
    const config = tinyConfig(folder, [`data.dataset=${folder.path}/images`, 'optim.batch_size_per_gpu=8']);
    folder.write('run/notes.txt', 'mine');
    await expect(train(config)).rejects.toEqual(coded('ERR_CAPI_DATA'));
    expect(readdirSync(config.train.output_dir)).toEqual(['notes.txt']);
  });

  test('a refused run leaves its folder free for the next one', async () => {
    await expect(train(tinyConfig(folder, ['optim.batch_size_per_gpu=41']))).rejects.toThrow();
    expect(await train(tinyConfig(folder))).toMatchObject({ finished: true });
  });
});

describe('bad images', () => {
  async function imagesWithThreeBad(): Promise<string[]> {
    await folder.writeImages(40, 'images/');
    const whole = readFileSync(join(folder.path, 'images/0000.png'));
    folder.write('images/truncated.png', whole.subarray(0, whole.length / 2));
    folder.write('images/zero.png', '');
    folder.write('images/corrupt.png', 'this is no picture');
    return [`data.dataset=${folder.path}/images`, 'optim.batch_size_per_gpu=43', 'optim.total_iters=3'];
  }

  test.each([0, 1])('within the share are left out, each named once, with %d workers', async (workers) => {
    const overrides = await imagesWithThreeBad();
    const machine = `efficiency.dataloader_num_workers=${workers}`;
    const config = tinyConfig(folder, [...overrides, 'data.max_bad_share=0.1', machine]);
    const { result, notes } = await trainAndListen(config);
    expect(result.finished).toBe(true);
    for (const name of ['truncated.png', 'zero.png', 'corrupt.png']) {
      expect(notes.filter((note) => note.includes(name))).toHaveLength(1);
    }
  });

  test('that end a run leave a checkpoint of the steps before', async () => {
    await folder.writeImages(40, 'images/');
    const config = tinyConfig(folder, [`data.dataset=${folder.path}/images`, 'optim.total_iters=200']);
    const spoil = ({ iteration }: { iteration: number }) => {
      for (let i = 0; iteration === 1 && i < 40; i++)
        folder.write(`images/${String(i).padStart(4, '0')}.png`, '');
    };
    await expect(train(config, { onStep: spoil })).rejects.toEqual(coded('ERR_CAPI_DATA', '.png'));
    expect((await lastCheckpoint(config)).iteration).toBeGreaterThan(0);
  });

  test('above the share end the run, naming some of them', async () => {
    const config = tinyConfig(folder, [...(await imagesWithThreeBad()), 'data.max_bad_share=0.05']);
    await expect(train(config)).rejects.toEqual(coded('ERR_CAPI_DATA', '.png', '5 %', 'max_bad_share'));
  });
});

describe('checkpoints', () => {
  async function runOfTwoCheckpoints(): Promise<Config> {
    const config = tinyConfig(folder, ['optim.total_iters=4', 'train.checkpointing.period=2']);
    await train(config);
    return config;
  }

  test.each([
    ['truncated tensors', 'step_0000004.safetensors', (path: string) => truncateSync(path, 1000)],
    ['altered tensors', 'step_0000004.safetensors', flipLastByte],
    ['a truncated state', 'step_0000004.json', (path: string) => truncateSync(path, 100)],
    [
      'an altered state',
      'step_0000004.json',
      (path: string) =>
        writeFileSync(path, readFileSync(path, 'utf8').replace('"iteration": 4', '"iteration": 3')),
    ],
  ])('%s: the checkpoint before is offered by name and works', async (_what, name, damage) => {
    const config = await runOfTwoCheckpoints();
    damage(join(checkpoints(config), name));
    const previous = join(checkpoints(config), 'step_0000002.json');
    await expect(train(config)).rejects.toEqual(
      coded('ERR_CAPI_CHECKPOINT_CORRUPT', 'step_0000004', `train.resume_from=${previous}`),
    );
    const again = tinyConfig(folder, ['optim.total_iters=4', `train.resume_from=${previous}`]);
    expect(await train(again)).toMatchObject({ finished: true, iteration: 4 });
  });

  test('of another architecture: every mismatch is listed, and nothing is changed', async () => {
    const config = await runOfTwoCheckpoints();
    const before = await lastTensors(config);
    const other = tinyConfig(folder, [
      'model.n_registers=0',
      'capi.num_clusters=24',
      'model.encoder_kwargs.depth=2',
    ]);
    await expect(train(other)).rejects.toEqual(
      coded(
        'ERR_CAPI_CHECKPOINT_MISMATCH',
        'unexpected: student.backbone.registers f32 [1, 4, 16]',
        'unexpected: optimizer.v.backbone.registers',
        'student.head.last_layer.weight_v: f32 [16, 16] in the checkpoint, f32 [24, 16] in this model',
        'teacher.head.layer.bias: f32 [16] in the checkpoint, f32 [24] in this model',
        'missing: student.backbone.encoder.blocks.1.residual2.fn.fc1.weight f32 [64, 16]',
      ),
    );
    expect(await lastTensors(config)).toEqual(before);
  });

  test('a disk that stays full: the run goes on to its end, which is an error, and the old checkpoint stands', async () => {
    const config = tinyConfig(folder, ['optim.total_iters=4', 'train.checkpointing.period=2']);
    await train(config, { stop: () => true });
    const before = await lastTensors(config);
    const { path: good, tensorsPath } = await lastCheckpoint(config);
    const size = readFileSync(tensorsPath).length;
    const end = await trainInChild(folder, config, { fileLimit: Math.floor(size / 1024 / 2) });
    expect(end).toMatchObject({ code: 1, stderr: '' });
    expect(end.lines).toContain('step 4');
    const failures = readSaveFailures(join(config.train.output_dir, METRICS_FILE_NAME));
    const reason = 'the file would exceed the size limit (EFBIG)';
    expect(failures).toEqual(
      [2, 3].map((iteration) => ({ event: 'save_failed', iteration, reason, last_checkpoint: good })),
    );
    expect(end.lines).toContain(
      `note the save at iteration 2 failed: ${reason}; the last good checkpoint is ${good}; ` +
        'the run goes on and saves again at iteration 3',
    );
    expect(end.lines.at(-1)).toMatch(/^error ERR_CAPI_CHECKPOINT_WRITE Cannot save .*size limit.*untouched/);
    expect(end.lines.at(-1)).toContain(`the last good checkpoint is ${good}`);
    expect(await lastTensors(config)).toEqual(before);
    expect(readdirSync(checkpoints(config)).sort()).toEqual([
      'latest',
      'step_0000001.json',
      'step_0000001.safetensors',
    ]);
    expect(await train(config)).toMatchObject({ finished: true, iteration: 4 });
  });

  test('a periodic save that fails is tried again before the next period', async () => {
    const settings = [
      'optim.total_iters=40',
      'train.checkpointing.period=20',
      'train.checkpointing.max_to_keep=9',
    ];
    const config = tinyConfig(folder, settings);
    await train(config, { stop: () => true });
    // No file can take the place of a folder.
    const obstacle = join(checkpoints(config), 'step_0000020.json');
    const { result, notes } = await trainAndListen(config, ({ iteration }) => {
      if (iteration === 19) mkdirSync(obstacle);
      if (iteration === 21) rmdirSync(obstacle);
    });
    expect(result).toMatchObject({ finished: true, iteration: 40 });
    expect(notes.filter((note) => /save/.test(note))).toEqual([
      expect.stringMatching(/^the save at iteration 20 failed: .*again at iteration 25$/),
      expect.stringMatching(/^saved again: .*step_0000025.json$/),
    ]);
    expect(readdirSync(checkpoints(config)).filter((name) => name.endsWith('.json'))).toEqual([
      'step_0000001.json',
      'step_0000025.json',
      'step_0000040.json',
    ]);
    const calm = tinyConfig(folder, [...settings, `train.output_dir=${folder.path}/calm`]);
    await train(calm);
    expect(await lastTensors(config)).toEqual(await lastTensors(calm));
  });

  test('an old checkpoint that cannot be deleted is a note after a save that succeeded', async () => {
    const config = tinyConfig(folder, ['train.checkpointing.period=2', 'train.checkpointing.max_to_keep=1']);
    const old = join(checkpoints(config), 'step_0000002.safetensors');
    const { result, notes } = await trainAndListen(config, ({ iteration }) => {
      if (iteration !== 3) return;
      rmSync(old);
      mkdirSync(old);
    });
    expect(result).toMatchObject({ finished: true, iteration: 10 });
    const told = notes.filter((note) => note.includes('could not be deleted'));
    expect(told[0]).toMatch(/^saved .*step_0000004.json, but older files .*step_0000002.safetensors/);
    expect(notes.join()).not.toMatch(/failed|Cannot save/);
    expect((await lastCheckpoint(config)).iteration).toBe(10);
  });

  describe('of a run that differs', () => {
    const other = (...overrides: string[]) => tinyConfig(folder, ['optim.total_iters=6', ...overrides]);

    test('in seed, data set or network is refused with every difference, and nothing is changed', async () => {
      const config = await runOfTwoCheckpoints();
      const before = [
        await lastTensors(config),
        readFileSync(join(config.train.output_dir, 'config.yaml'), 'utf8'),
      ];
      const copy = folder.write('copy/train-images-idx3-ubyte', readFileSync(config.data.dataset));
      const differing = [
        'train.seed=4',
        `data.dataset=${copy}`,
        'model.position=rope_axial',
        'data.mask_ratio=0.6',
      ];
      await expect(train(other(...differing, 'optim.weight_decay=0'))).rejects.toEqual(
        coded(
          'ERR_CAPI_CHECKPOINT_MISMATCH',
          'train.seed: 0 in the checkpoint, 4 here',
          `${JSON.stringify(copy)} here`,
          'model.position: "rope_coupled" in the checkpoint, "rope_axial" here',
          'data.mask_ratio: 0.5 in the checkpoint, 0.6 here',
          'another train.output_dir',
          `train.resume_from=${join(checkpoints(config), 'step_0000004.json')}`,
        ),
      );
      await expect(train(other('train.seed=4', 'optim.weight_decay=0'))).rejects.toEqual(
        expect.objectContaining({ message: expect.not.stringContaining('weight_decay') }),
      );
      expect([
        await lastTensors(config),
        readFileSync(join(config.train.output_dir, 'config.yaml'), 'utf8'),
      ]).toEqual(before);
    });

    test('goes on when resume_from asks for it, and from then on by itself', async () => {
      const config = await runOfTwoCheckpoints();
      const path = join(checkpoints(config), 'step_0000004.json');
      const { result, notes } = await trainAndListen(other('train.seed=4', `train.resume_from=${path}`));
      expect(result).toMatchObject({ finished: true, iteration: 6 });
      expect(notes.join('\n')).toContain('train.seed: 0 in the checkpoint, 4 here');
      expect(await train(other('train.seed=4'))).toMatchObject({ finished: true, iteration: 6 });
    });

    test('in rates, length or logging goes on with a note', async () => {
      await runOfTwoCheckpoints();
      const { result, notes } = await trainAndListen(
        other('optim.lr_schedule.base_value=1e-4', 'train.log_loss_every=1'),
      );
      expect(result).toMatchObject({ finished: true, iteration: 6 });
      const note = notes.find((text) => text.includes('configuration changed'));
      expect(note).toContain('optim.total_iters: 4 in the checkpoint, 6 here');
      expect(note).toContain('optim.lr_schedule.base_value: 0.001 in the checkpoint, 0.0001 here');
      expect(note).not.toContain('log_loss_every');
    });
  });

  test('a run that began with resume_from and was stopped continues from its own newest checkpoint', async () => {
    const config = await runOfTwoCheckpoints();
    const origin = `train.resume_from=${join(checkpoints(config), 'step_0000002.json')}`;
    const branch = tinyConfig(folder, [
      `train.output_dir=${folder.path}/branch`,
      origin,
      'optim.total_iters=4',
    ]);
    const begins: number[] = [];
    const onStart = ({ iteration }: { iteration: number }) => begins.push(iteration);
    await train(branch, { onStart, stop: () => true });
    expect(await train(branch, { onStart })).toMatchObject({ finished: true, iteration: 4 });
    expect(begins).toEqual([2, 3]);
  });

  describe('of a run that began with resume_from', () => {
    /** Began at iteration 2 of another run and saved at 4, 6 and 8. */
    async function branchOfThreeCheckpoints(...overrides: string[]): Promise<Config> {
      const config = await runOfTwoCheckpoints();
      const branch = tinyConfig(folder, [
        `train.output_dir=${folder.path}/branch`,
        `train.resume_from=${join(checkpoints(config), 'step_0000002.json')}`,
        'optim.total_iters=8',
        'train.checkpointing.period=2',
        'train.checkpointing.max_to_keep=3',
        ...overrides,
      ]);
      await train(branch);
      return branch;
    }

    test.each([
      ['tensors', 'step_0000008.safetensors'],
      ['state', 'step_0000008.json'],
    ])('a damaged %s ends it as any other, and what is offered works', async (_what, name) => {
      const branch = await branchOfThreeCheckpoints();
      truncateSync(join(checkpoints(branch), name), 100);
      const before = readdirSync(checkpoints(branch));
      const good = join(checkpoints(branch), 'step_0000006.json');
      await expect(train(branch)).rejects.toEqual(
        coded('ERR_CAPI_CHECKPOINT_CORRUPT', 'step_0000008', `train.resume_from=${good}`),
      );
      expect(readdirSync(checkpoints(branch))).toEqual(before);
      const offered = { ...branch, train: { ...branch.train, resume_from: good } };
      const begins: number[] = [];
      const onStart = ({ iteration }: { iteration: number }) => begins.push(iteration);
      expect(await train(offered, { onStart })).toMatchObject({ finished: true, iteration: 8 });
      expect(begins).toEqual([6]);
    });

    test('a damage that leaves only the origin is told', async () => {
      const branch = await branchOfThreeCheckpoints('train.checkpointing.max_to_keep=1');
      truncateSync(join(checkpoints(branch), 'step_0000008.json'), 100);
      await expect(train(branch)).rejects.toEqual(
        coded('ERR_CAPI_CHECKPOINT_CORRUPT', 'step_0000008', 'no other sound checkpoint'),
      );
    });
  });

  test('a frozen teacher may have other heads and another predictor', async () => {
    const teacher = tinyConfig(folder, [
      `train.output_dir=${folder.path}/teacher`,
      'capi.num_clusters=24',
      'model.decoder_kwargs.depth=2',
      'optim.total_iters=2',
    ]);
    await train(teacher);
    const frozen = ['capi.target_source=frozen_teacher', `capi.teacher_weights=${folder.path}/teacher`];
    const config = tinyConfig(folder, frozen);
    await train(config);
    const saved = async (of: Config, prefix: string) => {
      const name = `${prefix}backbone.encoder.blocks.0.residual1.fn.q_proj.weight`;
      const { tensors } = await lastCheckpoint(of);
      return Buffer.from(tensors.find((tensor) => tensor.name === name)?.data ?? []).toString('base64');
    };
    expect(await saved(config, 'frozen_teacher.')).toBe(await saved(teacher, 'student_ema.'));
    expect(await saved(config, 'student.')).not.toBe(await saved(teacher, 'student_ema.'));
  });

  test('a frozen teacher of another width is refused by the names of its tensors', async () => {
    const output = `train.output_dir=${folder.path}/teacher`;
    const wide = 'model.transformers_kwargs.embed_dim=32';
    await train(tinyConfig(folder, [output, wide, 'optim.total_iters=2']));
    const frozen = ['capi.target_source=frozen_teacher', `capi.teacher_weights=${folder.path}/teacher`];
    await expect(train(tinyConfig(folder, frozen))).rejects.toEqual(
      coded('ERR_CAPI_CHECKPOINT_MISMATCH', 'backbone.patch_embed.weight', 'q_proj.weight'),
    );
  });
});

function flipLastByte(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

test('two runs in one folder: the second is refused and the first goes on', async () => {
  const config = tinyConfig(folder);
  let second: Promise<unknown> | undefined;
  const first = train(config, {
    onStep() {
      second ??= train(config).catch((error) => error);
    },
  });
  expect(await first).toMatchObject({ finished: true });
  expect(await second).toEqual(coded('ERR_CAPI_RUN_LOCKED', `process ${process.pid}`));
});

describe('losses and gradients that are not finite', () => {
  /** A checkpoint of iteration 2 in which one weight of the student is NaN. */
  async function poisonedRun(): Promise<void> {
    const config = tinyConfig(folder, ['optim.total_iters=2']);
    await train(config);
    const { state, tensors } = await lastCheckpoint(config);
    const name = 'student.backbone.decoder.blocks.0.residual2.fn.fc1.weight';
    const poisoned = tensors.map((entry) =>
      entry.name === name ? { ...entry, data: poison(entry.data) } : entry,
    );
    await saveCheckpoint(checkpoints(config), { ...state, iteration: 2 }, poisoned, { keep: 1 });
  }

  function poison(data: Uint8Array): Uint8Array {
    const values = new Float32Array(data.slice().buffer);
    values[5] = Number.NaN;
    return new Uint8Array(values.buffer);
  }

  test('skip the step, and three in a row end the run with the last good checkpoint named', async () => {
    await poisonedRun();
    const config = tinyConfig(folder, ['train.checkpointing.period=1']);
    const before = await lastTensors(config);
    const skipped: number[] = [];
    const run = train(config, { onStep: (step) => step.skipped && skipped.push(step.iteration) });
    await expect(run).rejects.toEqual(
      coded('ERR_CAPI_NOT_FINITE', '3 steps in a row', 'checkpoints/step_0000002.json'),
    );
    expect(skipped).toEqual([3, 4, 5]);
    expect(await lastTensors(config)).toEqual(before);
  });

  test('with nan_check_period=0 never end the run, which changes no weight', async () => {
    await poisonedRun();
    const config = tinyConfig(folder, ['train.nan_check_period=0', 'optim.total_iters=8']);
    const before = (await lastTensors(config)).filter((tensor) => !tensor.startsWith('health'));
    const { result, notes } = await trainAndListen(config);
    expect(result).toMatchObject({ finished: true, iteration: 8, skippedSteps: 6 });
    expect(
      notes.filter((note) => /iteration \d+: \d+ losses and gradients are not finite/.test(note)),
    ).toHaveLength(6);
    expect((await lastTensors(config)).filter((tensor) => !tensor.startsWith('health'))).toEqual(before);
    const lines = readFileSync(join(config.train.output_dir, METRICS_FILE_NAME), 'utf8')
      .trimEnd()
      .split('\n');
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ iteration: 7, capi_loss: null });
  });

  describe('where a save is due', () => {
    afterEach(() => jest.restoreAllMocks());

    function skipSteps(skips: (iteration: number) => boolean): void {
      const { softCrossEntropy } = ops;
      let iteration = 0;
      jest.spyOn(ops, 'softCrossEntropy').mockImplementation((options) => {
        softCrossEntropy(options);
        iteration += 1;
        if (skips(iteration)) options.loss.write([Number.NaN]);
      });
    }

    test('put it off to the next good step', async () => {
      skipSteps((iteration) => iteration === 4 || iteration === 5);
      const settings = ['train.checkpointing.period=4', 'train.checkpointing.max_to_keep=9'];
      const config = tinyConfig(folder, settings);
      expect(await train(config)).toMatchObject({ finished: true, skippedSteps: 2 });
      expect(readdirSync(checkpoints(config)).filter((name) => name.endsWith('.json'))).toEqual([
        'step_0000006.json',
        'step_0000008.json',
        'step_0000010.json',
      ]);
    });

    test('do not keep a run that ends for want of data from saving', async () => {
      skipSteps((iteration) => iteration > 1);
      await folder.writeImages(40, 'images/');
      const settings = [
        `data.dataset=${folder.path}/images`,
        'optim.total_iters=200',
        'train.nan_check_period=0',
      ];
      const config = tinyConfig(folder, settings);
      const steps: number[] = [];
      const onStep = ({ iteration }: { iteration: number }) => {
        steps.push(iteration);
        for (let i = 0; iteration === 3 && i < 40; i++)
          folder.write(`images/${String(i).padStart(4, '0')}.png`, '');
      };
      await expect(train(config, { onStep })).rejects.toEqual(coded('ERR_CAPI_DATA', '.png'));
      expect(steps.length).toBeGreaterThan(1);
      expect((await lastCheckpoint(config)).iteration).toBe(steps.at(-1));
    });
  });

  test('a loss alone is enough, and the next step is taken', async () => {
    using run = new TrainingRun(tinyConfig(folder));
    run.start();
    const before = await bytesOf(run.student.flat);
    for (const loss of [run.results.capiLoss, run.results.clusteringLoss]) {
      run.batch.upload(randomBatch(run.config, 1));
      run.batch.prepare();
      run.setIteration(5);
      run.drawDropPath();
      computeGradients(run);
      loss.write([Number.POSITIVE_INFINITY]);
      update(run);
      expect(await run.results.nonfinite.readFloats()).toEqual(new Float64Array([1]));
      expect((await bytesOf(run.student.flat)).equals(before)).toBe(true);
    }
    trainStep(run, 5);
    expect((await bytesOf(run.student.flat)).equals(before)).toBe(false);
  });

  test('by a learning rate that is far too high end the run, which says what to lower', async () => {
    const rates = ['optim.lr_schedule.base_value=1e30', 'optim.lr_schedule.warmup_iters=0'];
    const config = tinyConfig(folder, [...rates, 'optim.total_iters=50']);
    await expect(train(config)).rejects.toEqual(
      coded('ERR_CAPI_NOT_FINITE', 'no checkpoint yet', 'lr_schedule.base_value'),
    );
  });
});
