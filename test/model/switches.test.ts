/** Every switch of METHOD section 8 trains: losses are finite, the student and its EMA move, the clustering head learns. */
import { train } from '../../lib/train/trainer.js';
import { TemporaryFolder } from '../support/images.js';
import { lastCheckpoint, tinyConfig } from '../support/tiny_run.js';

const switches: readonly (readonly string[])[] = [
  [],
  ['model.predictor=self'],
  ['model.predictor=fused'],
  ['data.masking_generator=Uniform', 'data.mask_ratio=0.9', 'data.prediction_subsampling=1'],
  ['data.masking_generator=Block'],
  ['data.masking_generator=InverseBlock', 'data.masking_generator_kwargs.roll=false'],
  ['data.masking_generator_kwargs.min_aspect=0.9', 'data.masking_generator_kwargs.max_aspect=1.1'],
  ['data.mask_ratio=0.75'],
  ['data.crop_scale=[0.2,1]'],
  ['data.crop_scale=[1,1]', 'data.do_hflip=false'],
  ['capi.loss_variant=mlp_head'],
  ['capi.loss_variant=ema_head'],
  ['capi.target_source=pixels'],
  ['capi.target_source=pixels', 'model.patch_size=8', 'data.mask_ratio=0.75'],
  ['capi.clustering_kwargs.positionwise_sk=false'],
  ['capi.clustering_kwargs.positionwise_sk=false', 'capi.clustering_kwargs.bias=false'],
  ['capi.clustering_kwargs.n_sk_iter=1'],
  ['capi.num_clusters=100'],
  ['model.encoder_kwargs.depth=3', 'model.decoder_kwargs.depth=2'],
  ['model.n_registers=0'],
  ['model.n_registers=3', 'model.register_coordinates=zeros'],
  ['model.n_registers=3', 'model.position=learned'],
  ['model.scale_reg_to_visible=false'],
  ['model.position=rope_axial'],
  ['model.position=learned'],
  ['model.position=learned', 'model.predictor=fused'],
  ['model.position=none'],
  ['model.position=none', 'optim.rope_lr_mult=1'],
  ['optim.rope_lr_mult=0.1'],
  ['model.transformers_kwargs.drop_path_rate=0'],
  ['model.encoder_kwargs.drop_path_rate=0.9', 'model.decoder_kwargs.drop_path_rate=0'],
  ['model.predictor=fused', 'model.transformers_kwargs.drop_path_rate=0.5'],
  ['optim.batch_size_per_gpu=1', 'capi.clustering_kwargs.positionwise_sk=false'],
  ['optim.batch_size_per_gpu=40'],
];

interface Trained {
  readonly losses: readonly number[];
  /** Largest change of a tensor from its first value, by name. */
  readonly changes: ReadonlyMap<string, number>;
}

async function trainThreeSteps(folder: TemporaryFolder, overrides: readonly string[]): Promise<Trained> {
  const rates = ['optim.lr_schedule', 'capi.clustering_optimizer.lr_schedule', 'optim.momentum_schedule'];
  const config = tinyConfig(folder, [
    ...rates.map((schedule) => `${schedule}.warmup_iters=0`),
    'optim.total_iters=3',
    'train.checkpointing.period=1',
    ...overrides,
  ]);
  const losses: number[] = [];
  await train(config, {
    stop: () => true,
    onStep: ({ capiLoss, clusteringLoss, targetEntropy }) =>
      losses.push(capiLoss, clusteringLoss, targetEntropy),
  });
  const first = await lastCheckpoint(config);
  const { skippedSteps } = await train(config, {
    onStep: ({ capiLoss, clusteringLoss, targetEntropy }) =>
      losses.push(capiLoss, clusteringLoss, targetEntropy),
  });
  expect(skippedSteps).toBe(0);
  const last = await lastCheckpoint(config);
  const before = new Map(first.tensors.map(({ name, data }) => [name, floats(data)]));
  const changes = new Map(
    last.tensors.map(({ name, data }) => {
      const old = before.get(name)!;
      return [name, Math.max(...floats(data).map((value, i) => Math.abs(value - old[i]!)))];
    }),
  );
  return { losses, changes };
}

function floats(data: Uint8Array): Float32Array {
  return new Float32Array(data.slice().buffer);
}

/** Names of weights under a prefix that did not move. */
function unmoved(changes: Trained['changes'], prefix: string): string[] {
  return [...changes]
    .filter(([name, change]) => name.startsWith(prefix) && !(change > 0))
    .map(([name]) => name)
    .filter((name) => !name.endsWith('rope.freqs'));
}

function expectTrained({ losses, changes }: Trained, clusteringHeadLearns = true): void {
  expect(losses).toHaveLength(9);
  for (const loss of losses) expect(Number.isFinite(loss)).toBe(true);
  expect(unmoved(changes, 'student.')).toEqual([]);
  expect(unmoved(changes, 'student_ema.')).toEqual([]);
  if (clusteringHeadLearns) expect(unmoved(changes, 'teacher.')).toEqual([]);
}

describe.each(['float32', 'bfloat16'])('%s', (dtype) => {
  test.each(switches.map((overrides) => [overrides.join(' ') || 'the method itself', overrides] as const))(
    '%s',
    async (_name, overrides) => {
      using folder = new TemporaryFolder();
      const trained = await trainThreeSteps(folder, [`efficiency.param_dtype=${dtype}`, ...overrides]);
      expectTrained(trained, !overrides.includes('capi.loss_variant=ema_head'));
    },
  );

  test('capi.target_source=frozen_teacher, which does not move', async () => {
    using folder = new TemporaryFolder();
    const settings = [`efficiency.param_dtype=${dtype}`];
    await train(tinyConfig(folder, [...settings, `train.output_dir=${folder.path}/teacher`]));
    const trained = await trainThreeSteps(folder, [
      ...settings,
      'capi.target_source=frozen_teacher',
      `capi.teacher_weights=${folder.path}/teacher`,
    ]);
    expectTrained(trained);
    const moved = [...trained.changes].filter(([name, change]) => name.startsWith('frozen') && change !== 0);
    expect(moved).toEqual([]);
  });
});

test('rope frequencies move only with a learning rate', async () => {
  using folder = new TemporaryFolder();
  const name = 'student.backbone.encoder.blocks.0.residual1.fn.rope.freqs';
  const fixed = await trainThreeSteps(folder, []);
  expect(fixed.changes.get(name)).toBe(0);
  const trained = await trainThreeSteps(folder, [
    'optim.rope_lr_mult=1',
    `train.output_dir=${folder.path}/rope`,
  ]);
  expect(trained.changes.get(name)).toBeGreaterThan(0);
});
