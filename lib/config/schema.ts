/**
 * The run's configuration: the keys of the published YAML (facebookresearch/capi) with their published
 * defaults, and a few of ours in the same style. Names stay in snake_case, as in the file, so that a path in a
 * message, in YAML and in code is the same word. Plain data: validated once in load.ts, then trusted.
 */
import { z } from 'zod';

// Every leaf's error is the phrase that stands after "Expected" in the message (problems.ts).

const integer = (min: number, max = 2 ** 31 - 1) => {
  const error = max === 2 ** 31 - 1 ? `an integer >= ${min}` : `an integer in [${min}, ${max}]`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};
const number = (min: number, max = Number.POSITIVE_INFINITY) => {
  const error = max === Number.POSITIVE_INFINITY ? `a number >= ${min}` : `a number in [${min}, ${max}]`;
  const atLeast = z.number({ error }).min(min, { error });
  return max === Number.POSITIVE_INFINITY ? atLeast : atLeast.max(max, { error });
};
const positive = () => z.number({ error: 'a number > 0' }).gt(0, { error: 'a number > 0' });
const share = () => {
  const error = 'a number in (0, 1)';
  return z.number({ error }).gt(0, { error }).lt(1, { error });
};
const flag = () => z.boolean({ error: 'true or false' });
const text = () => z.string({ error: 'text' }).min(1, { error: 'text that is not empty' });
const choice = <const T extends readonly [string, ...string[]]>(values: T, note = '') =>
  z.enum(values, { error: `${oneOf(values)}${note}` });
/** A key of the published code of which only one value exists here; the note says why. */
const only = <const T extends string | number | boolean>(value: T, note: string) =>
  z.literal(value, { error: `${value} (${note})` });
const betas = () => {
  const error = 'two numbers in [0, 1)';
  const beta = z.number({ error }).min(0, { error }).lt(1, { error });
  return z.tuple([beta, beta], { error });
};
const section = <T extends z.core.$ZodShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? 'a mapping of keys' : undefined),
  });
/** Accepted whole and without a look inside: it has no meaning here and load.ts says so. */
const ignored = () => z.unknown().optional();

function oneOf(values: readonly string[]): string {
  if (values.length < 2) return values.join('');
  return `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

interface ScheduleDefaults {
  readonly start: number;
  readonly base: number;
  readonly final: number;
  /** Largest value allowed: 1 for the EMA's momentum. */
  readonly max?: number;
}

/** `start_warmup_value` to `base_value` in `warmup_iters`, then a cosine cut at `truncate_cos` of its half-period. */
const schedule = ({ start, base, final, max }: ScheduleDefaults) =>
  section({
    base_value: number(0, max).default(base),
    final_value: number(0, max).default(final),
    start_warmup_value: number(0, max).default(start),
    warmup_iters: integer(0).default(50_000),
    /** Iterations at 0 before the warm-up. */
    freeze_iters: integer(0).default(0),
    truncate_cos: number(0, 1).default(0.8),
  }).prefault({});

const embedDim = () => integer(4, 65_536);
const numHeads = () => integer(1, 1024);
const dropPathRate = () => {
  const error = 'a number in [0, 1)';
  return z.number({ error }).min(0, { error }).lt(1, { error });
};
const attnConstants = {
  qkv_bias: only(false, 'attention has no biases here').default(false),
  proj_bias: only(false, 'attention has no biases here').default(false),
};
const dropPathType = () => only('efficient', 'the only stochastic depth here').default('efficient');

/**
 * What `encoder_kwargs` and `decoder_kwargs` may set over `transformers_kwargs`. Width, heads and frequencies must come out
 * the same for both (checks.ts).
 */
const stack = (depth: number) =>
  section({
    depth: integer(1, 1024).default(depth),
    embed_dim: embedDim().optional(),
    drop_path_rate: dropPathRate().optional(),
    block_kwargs: section({
      attn_kwargs: section({
        num_heads: numHeads().optional(),
        rope_kwargs: section({ max_freq: positive().optional(), min_freq: positive().optional() }).optional(),
      }).optional(),
    }).optional(),
  }).prefault({});

const train = section({
  /** Everything a run writes is in this folder. */
  output_dir: text().default('.'),
  /** Continue from the newest checkpoint in output_dir when there is one. */
  auto_resume: flag().default(true),
  /** Ours. Begin from this checkpoint (when the newest is damaged, or to branch off); later, from the run's own. */
  resume_from: text().nullable().default(null),
  seed: integer(0).default(0),
  /** 0: never stop on non-finite losses. Any other value: stop after three in a row (every step is checked). */
  nan_check_period: integer(0).default(20),
  log_loss_every: integer(1).default(20),
  profiling: ignored(),
  checkpointing: section({
    period: integer(1).default(3750),
    /** The newest N are kept. */
    max_to_keep: integer(1).default(3),
  }).prefault({}),
}).prefault({});

const capi = section({
  num_clusters: integer(2, 2 ** 24).default(16_384),
  student_temp: positive().default(0.12),
  clustering_kwargs: section({
    target_temp: positive().default(0.06),
    pred_temp: positive().default(0.12),
    n_sk_iter: integer(1, 100).default(3),
    bias: flag().default(true),
    /** true: a Sinkhorn-Knopp problem for each position; false: one over all positions. */
    positionwise_sk: flag().default(true),
  }).prefault({}),
  clustering_optimizer: section({
    name: only('AdamW', 'the only optimizer here').default('AdamW'),
    kwargs: section({
      betas: betas().default([0.9, 0.95]),
      eps: positive().default(1e-8),
      weight_decay: number(0).default(0.01),
    }).prefault({}),
    lr_schedule: schedule({ start: 0, base: 5e-4, final: 0 }),
  }).prefault({}),
  /** Ours. linear: the published head; mlp_head: an MLP before it; ema_head: targets by the EMA of the student's head. */
  loss_variant: choice(['linear', 'mlp_head', 'ema_head']).default('linear'),
  /** Ours. What is clustered: features of the EMA teacher, of a fixed one (teacher_weights), or the pixels of a patch. */
  target_source: choice(['ema_teacher', 'frozen_teacher', 'pixels']).default('ema_teacher'),
  /** Ours. Checkpoint of the frozen teacher. */
  teacher_weights: text().nullable().default(null),
}).prefault({});

const optim = section({
  total_iters: integer(1).default(500_000),
  /** Images a step in one process. */
  batch_size_per_gpu: integer(1, 2 ** 20).default(512),
  optimizer: only('AdamW', 'the only optimizer here').default('AdamW'),
  optimizer_kwargs: section({
    betas: betas().default([0.9, 0.95]),
    eps: positive().default(1e-8),
  }).prefault({}),
  weight_decay: number(0).default(0.1),
  lr_schedule: schedule({ start: 0, base: 1e-3, final: 0 }),
  patch_embed_lr_mult: number(0).default(0.2),
  rope_lr_mult: number(0).default(0),
  layernorm_wd_mult: number(0).default(0.1),
  momentum_schedule: schedule({ start: 1, base: 0.999, final: 1, max: 1 }),
}).prefault({});

const cropScale = () => {
  const error = 'two numbers in (0, 1], the smaller first';
  const area = z.number({ error }).gt(0, { error }).max(1, { error });
  return z.tuple([area, area], { error });
};

const data = section({
  dataset: text().default("hf://timm/imagenet-22k-wds?streaming=True&split='train'&img_field='jpg'"),
  mask_ratio: share().default(0.65),
  /** Share of the masked patches that are predicted. */
  prediction_subsampling: z
    .number({ error: 'a number in (0, 1]' })
    .gt(0, { error: 'a number in (0, 1]' })
    .max(1, { error: 'a number in (0, 1]' })
    .default(0.05),
  /** Area of the random crop as a share of the image's. */
  crop_scale: cropScale().default([0.6, 1]),
  images_size: integer(1, 16_384).default(224),
  do_hflip: flag().default(true),
  masking_generator: choice(['InverseBlock', 'Block', 'Uniform']).default('InverseBlock'),
  /** Of the block generators; without effect on Uniform. */
  masking_generator_kwargs: section({
    roll: flag().default(true),
    min_aspect: positive().default(0.5),
    /** null: 1 / min_aspect. */
    max_aspect: positive().nullable().default(null),
  }).prefault({}),
  /** Ours. The run stops when more than this share of the images cannot be read. */
  max_bad_share: number(0, 1).default(0.01),
}).prefault({});

const model = section({
  patch_size: integer(1, 256).default(14),
  in_chans: only(3, 'images are RGB').default(3),
  norm_layer_type: only('RMSNorm', 'the only norm here').default('RMSNorm'),
  n_registers: integer(0, 4096).default(16),
  /** Where rotary encoding places the registers: round the edge of the image, or all at (0, 0). */
  register_coordinates: choice(['edge', 'zeros']).default('edge'),
  /** Shrink the registers' square to the bounding box of the visible patches. */
  scale_reg_to_visible: flag().default(true),
  /** Of both stacks. */
  transformers_kwargs: section({
    embed_dim: embedDim().default(1024),
    drop_path_rate: dropPathRate().default(0.2),
    block_kwargs: section({
      drop_path_type: dropPathType(),
      attn_kwargs: section({
        num_heads: numHeads().default(16),
        ...attnConstants,
        rope_kwargs: section({
          max_freq: positive().default(7),
          min_freq: positive().default(7e-4),
        }).prefault({}),
      }).prefault({}),
    }).prefault({}),
  }).prefault({}),
  encoder_kwargs: stack(24),
  /** The predictor, by its published name. */
  decoder_kwargs: stack(12),
  norm_layer_kwargs: section({ eps: positive().default(1e-5) }).prefault({}),
  final_norm_kwargs: section({
    elementwise_affine: only(false, 'the final norms have no weight').default(false),
  }).prefault({}),
  out_layer: only(-1, 'features are those of the last block').default(-1),
  /** Ours. rope_coupled: the published encoding, which its weights need; rope_axial: a true rotation. */
  position: choice(['rope_coupled', 'rope_axial', 'learned', 'none']).default('rope_coupled'),
  /**
   * Ours. cross: mask tokens attend to the encoder's output; self: they join it and attend to each other too;
   * fused: they join the visible patches at the encoder's input and there is no second stack of another kind.
   */
  predictor: choice(['cross', 'self', 'fused']).default('cross'),
}).prefault({});

const efficiency = section({
  param_dtype: z
    .enum(['bfloat16', 'float32'], {
      error: 'bfloat16 or float32 (float16 would need loss scaling, which is not here)',
    })
    .default('bfloat16'),
  reduce_dtype: only('float32', 'sums are always in float32').default('float32'),
  grad_scaler: only(false, 'it serves float16 only, which is not here').default(false),
  grad_scaler_growth_interval: ignored(),
  /** At most; never more than the machine has cores, or four. */
  dataloader_num_workers: integer(0, 1024).default(20),
  cache_dataset: ignored(),
  compilation: ignored(),
  rematerialization: ignored(),
  /** Ours. auto: a GPU when there is one that works, else the CPU. */
  backend: choice(['auto', 'cpu', 'cuda']).default('auto'),
  /** Ours. Threads of the CPU backend; 0: all cores. Results do not depend on it. */
  threads: integer(0, 1024).default(0),
}).prefault({});

export const configSchema = section({
  launcher: ignored(),
  train,
  capi,
  optim,
  data,
  model,
  efficiency,
  evals: ignored(),
});

/** Published keys without a meaning here, and why. load.ts names those that a file or an override sets. */
export const IGNORED_KEYS: readonly { readonly path: string; readonly why: string }[] = [
  { path: 'launcher', why: 'one process' },
  { path: 'train.profiling', why: 'stage times are in the report' },
  { path: 'efficiency.grad_scaler_growth_interval', why: 'no float16' },
  { path: 'efficiency.cache_dataset', why: 'the file list is read at each start' },
  { path: 'efficiency.compilation', why: 'nothing is compiled at run time' },
  { path: 'efficiency.rematerialization', why: 'memory is planned once' },
  { path: 'evals', why: 'evaluate a checkpoint after the run' },
];

type DeepReadonly<T> = T extends readonly unknown[]
  ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

type Parsed = z.output<typeof configSchema>;

/** A validated configuration, without the keys that have no meaning here. Frozen. */
export type Config = DeepReadonly<{
  train: Omit<Parsed['train'], 'profiling'>;
  capi: Parsed['capi'];
  optim: Parsed['optim'];
  data: Parsed['data'];
  model: Parsed['model'];
  efficiency: Omit<
    Parsed['efficiency'],
    'grad_scaler_growth_interval' | 'cache_dataset' | 'compilation' | 'rematerialization'
  >;
}>;

export type ScheduleConfig = Config['optim']['lr_schedule'];
