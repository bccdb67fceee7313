/** Rules between keys, and advice about settings that are allowed but seldom meant. */
import type { CrossProblem } from './problems.js';
import { scheduleProblems } from './run_length.js';
import type { Config } from './schema.js';
import { type RunShape, runShape, type StackShape } from './shape.js';

/** All rules that a configuration breaks, each naming the numbers it is about. */
export function crossProblems(config: Config): CrossProblem[] {
  const shape = runShape(config);
  return [
    ...gridProblems(config, shape),
    ...stackProblems(config, shape),
    ...maskProblems(config, shape),
    ...scheduleProblems(config),
    ...sharedStackProblems(shape),
    ...variantProblems(config),
  ];
}

/** Sentences about what will probably disappoint; none of them stops a run. */
export function configWarnings(config: Config, worldSize = 1): string[] {
  const warnings: string[] = [];
  const clusters = softTargetsWarning(config, worldSize);
  if (clusters !== undefined) warnings.push(clusters);
  const { target_source, teacher_weights } = config.capi;
  if (teacher_weights !== null && target_source !== 'frozen_teacher') {
    warnings.push(
      `capi.teacher_weights has no effect with capi.target_source=${target_source}: set it to frozen_teacher`,
    );
  }
  if (config.model.predictor === 'fused') {
    warnings.push('model.decoder_kwargs has no effect with model.predictor=fused: there is no second stack');
  }
  if (config.capi.loss_variant === 'ema_head') {
    warnings.push(
      'capi.clustering_optimizer has no effect with capi.loss_variant=ema_head: the head that assigns is an average',
    );
  }
  return warnings;
}

/** METHOD §9: a prototype gets at most n/K of the mass of a Sinkhorn-Knopp problem of n rows. */
function softTargetsWarning(config: Config, worldSize: number): string | undefined {
  const { num_clusters: clusters, clustering_kwargs } = config.capi;
  const images = config.optim.batch_size_per_gpu * worldSize;
  const positionwise = clustering_kwargs.positionwise_sk;
  const rows = positionwise ? images : images * runShape(config).positions;
  if (rows >= clusters) return undefined;
  const what = positionwise ? `${images} images a step` : `${rows} patches a step`;
  const effect =
    rows * 8 >= clusters ? 'targets will be soft' : 'targets will be very soft and training may stall';
  const fixes = [
    `raise optim.batch_size_per_gpu to ${Math.ceil((config.optim.batch_size_per_gpu * clusters) / rows)}`,
    `lower capi.num_clusters to ${Math.max(2, rows)}`,
    ...(positionwise ? ['set capi.clustering_kwargs.positionwise_sk=false'] : []),
  ];
  return `${what} for ${clusters} prototypes: ${effect}; ${fixes.join(', or ')}`;
}

function gridProblems({ data, model }: Config, shape: RunShape): CrossProblem[] {
  const involved = ['data.images_size', 'model.patch_size'];
  const problems: CrossProblem[] = [];
  if (data.images_size % model.patch_size !== 0) {
    const nearest = Math.max(1, Math.round(data.images_size / model.patch_size)) * model.patch_size;
    const patches = nearestDivisors(data.images_size, model.patch_size);
    problems.push({
      path: 'data.images_size',
      message:
        `Expected data.images_size to be a multiple of model.patch_size (${model.patch_size}) but received ${data.images_size}; ` +
        `use data.images_size=${nearest}${patches.length > 0 ? `, or model.patch_size ${patches.join(' or ')}` : ''}`,
      involved,
    });
  }
  const rope = model.position.startsWith('rope');
  if (rope && model.register_coordinates === 'edge' && model.n_registers % 4 !== 0) {
    problems.push({
      path: 'model.n_registers',
      message: `Expected model.n_registers to be a multiple of 4 (a quarter on each edge) but received ${model.n_registers}; use ${Math.ceil(model.n_registers / 4) * 4} or model.register_coordinates=zeros`,
      involved: ['model.n_registers', 'model.register_coordinates', 'model.position'],
    });
  }
  if (shape.positions * 2 > 2 ** 20) {
    problems.push({
      path: 'data.images_size',
      message: `Expected at most ${2 ** 19} patches an image but received ${shape.positions}`,
      involved,
    });
  }
  return problems;
}

/** At most three patch sizes that divide an image into more than one patch, the nearest to `wanted` first. */
function nearestDivisors(size: number, wanted: number): number[] {
  return Array.from({ length: Math.floor(size / 2) }, (_, i) => i + 1)
    .filter((patch) => patch > 1 && size % patch === 0)
    .sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted))
    .slice(0, 3);
}

function stackProblems(config: Config, shape: RunShape): CrossProblem[] {
  const shared = [
    'model.transformers_kwargs.embed_dim',
    'model.transformers_kwargs.block_kwargs.attn_kwargs.num_heads',
  ];
  const check = (stack: StackShape, name: 'encoder' | 'predictor', section: string): CrossProblem[] => {
    const involved = [...shared, `${section}.embed_dim`, `${section}.block_kwargs.attn_kwargs.num_heads`];
    const path = config.model[section === 'model.encoder_kwargs' ? 'encoder_kwargs' : 'decoder_kwargs']
      .embed_dim
      ? `${section}.embed_dim`
      : 'model.transformers_kwargs.embed_dim';
    const fail = (message: string): CrossProblem[] => [{ path, message, involved }];
    if (stack.embedDim % stack.numHeads !== 0) {
      return fail(
        `Expected ${path} to be a multiple of num_heads (${stack.numHeads}) but received ${stack.embedDim} (${name})`,
      );
    }
    if (stack.headDim % 4 !== 0) {
      return fail(
        `Expected ${path} / num_heads to be a multiple of 4 but received ${stack.embedDim} / ${stack.numHeads} = ${stack.headDim} (${name})`,
      );
    }
    return [];
  };
  const problems = [
    ...check(shape.encoder, 'encoder', 'model.encoder_kwargs'),
    ...check(shape.predictor, 'predictor', 'model.decoder_kwargs'),
  ];
  // Shared keys wrong once are said once.
  return problems.filter((problem, index) => problems.findIndex((p) => p.path === problem.path) === index);
}

/** Both stacks have one width, one number of heads and one set of frequencies; only depth and drop path differ. */
function sharedStackProblems({ encoder, predictor }: RunShape): CrossProblem[] {
  const shared = [
    ['embed_dim', encoder.embedDim, predictor.embedDim],
    ['block_kwargs.attn_kwargs.num_heads', encoder.numHeads, predictor.numHeads],
    ['block_kwargs.attn_kwargs.rope_kwargs.max_freq', encoder.maxFreq, predictor.maxFreq],
    ['block_kwargs.attn_kwargs.rope_kwargs.min_freq', encoder.minFreq, predictor.minFreq],
  ] as const;
  return shared
    .filter(([, ofEncoder, ofPredictor]) => ofEncoder !== ofPredictor)
    .map(([key, ofEncoder, ofPredictor]) => ({
      path: `model.decoder_kwargs.${key}`,
      message: `Expected ${key} to be the same in both stacks (set model.transformers_kwargs.${key}) but received ${ofEncoder} for the encoder and ${ofPredictor} for the predictor`,
      involved: ['encoder_kwargs', 'decoder_kwargs', 'transformers_kwargs'].map(
        (name) => `model.${name}.${key}`,
      ),
    }));
}

function maskProblems({ data }: Config, shape: RunShape): CrossProblem[] {
  const involved = ['data.images_size', 'model.patch_size', 'data.mask_ratio'];
  const problems: CrossProblem[] = [];
  const of = `of ${shape.positions} patches`;
  if (shape.visible < 1 || shape.masked < 1) {
    problems.push({
      path: 'data.mask_ratio',
      message: `Expected data.mask_ratio to leave at least 1 visible and 1 masked ${of} but received ${data.mask_ratio} (${shape.visible} visible, ${shape.masked} masked)`,
      involved,
    });
  } else if (shape.predicted < 1) {
    problems.push({
      path: 'data.prediction_subsampling',
      message: `Expected data.prediction_subsampling to choose at least 1 of ${shape.masked} masked patches but received ${data.prediction_subsampling}; use ${roundUp(1 / shape.masked)} or more`,
      involved: [...involved, 'data.prediction_subsampling'],
    });
  }
  const [smallest, largest] = data.crop_scale;
  if (smallest > largest) {
    problems.push({
      path: 'data.crop_scale',
      message: `Expected data.crop_scale to have the smaller number first but received [${smallest}, ${largest}]`,
      involved: ['data.crop_scale'],
    });
  }
  return data.masking_generator === 'Uniform' ? problems : [...problems, ...aspectProblems(data, shape)];
}

/** A block of m cells with an aspect beyond g²/m (or below m/g²) does not fit the grid. */
function aspectProblems(data: Config['data'], shape: RunShape): CrossProblem[] {
  const kwargs = data.masking_generator_kwargs;
  const most = kwargs.max_aspect ?? 1 / kwargs.min_aspect;
  const cells = data.masking_generator === 'Block' ? shape.masked : shape.visible;
  if (cells < 1 || cells > shape.positions) return [];
  const room = shape.positions / cells;
  if (kwargs.min_aspect <= most && kwargs.min_aspect <= room && most >= 1 / room) return [];
  return [
    {
      path: 'data.masking_generator_kwargs.min_aspect',
      message: `Expected min_aspect <= max_aspect in data.masking_generator_kwargs, and a block of ${cells} patches to fit a grid of ${shape.grid} a side, but received ${kwargs.min_aspect} and ${most}`,
      involved: [
        'data.masking_generator_kwargs.min_aspect',
        'data.masking_generator_kwargs.max_aspect',
        'data.mask_ratio',
        'data.images_size',
        'model.patch_size',
      ],
    },
  ];
}

function variantProblems({ capi }: Config): CrossProblem[] {
  const problems: CrossProblem[] = [];
  if (capi.target_source === 'frozen_teacher' && capi.teacher_weights === null) {
    problems.push({
      path: 'capi.teacher_weights',
      message: 'Expected a checkpoint for capi.teacher_weights with capi.target_source=frozen_teacher',
      involved: ['capi.teacher_weights', 'capi.target_source'],
    });
  }
  if (capi.loss_variant === 'ema_head' && capi.target_source !== 'ema_teacher') {
    problems.push({
      path: 'capi.loss_variant',
      message: `Expected capi.target_source=ema_teacher with capi.loss_variant=ema_head but received ${capi.target_source}`,
      involved: ['capi.loss_variant', 'capi.target_source'],
    });
  }
  return problems;
}

function roundUp(value: number): number {
  return Math.ceil(value * 1000) / 1000;
}
