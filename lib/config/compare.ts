/** What differs between the configuration of a checkpoint and the one of the run that wants to load it. */
import { isDeepStrictEqual } from 'node:util';
import { valueAt } from './problems.js';
import type { Config } from './schema.js';
import { runShape } from './shape.js';

export interface ConfigDifference {
  /** Dotted path, or the name of a derived size. */
  readonly path: string;
  readonly saved: unknown;
  readonly current: unknown;
}

/** Differences that make the tensors incompatible. Empty: the checkpoint fits. */
export function architectureDifferences(saved: Config, current: Config): ConfigDifference[] {
  return differences(architecture(saved), architecture(current));
}

/** Differences that keep the tensors but make a resumed run another run than the one that was stopped. */
export function trajectoryDifferences(saved: Config, current: Config): ConfigDifference[] {
  const paths = new Set(
    [...leaves(saved), ...leaves(current)].filter(
      (path) => !WITHOUT_EFFECT.some((prefix) => path.startsWith(prefix)),
    ),
  );
  const built = new Set(architectureDifferences(saved, current).map((difference) => difference.path));
  return [...paths]
    .filter((path) => !built.has(path))
    .map((path) => ({
      path,
      saved: valueAt(saved, path.split('.')),
      current: valueAt(current, path.split('.')),
    }))
    .filter(({ saved: a, current: b }) => !isDeepStrictEqual(a, b));
}

/** Those of them after which a resumed run would see other samples: other images, crops, masks or batches. */
export function sampleDifferences(saved: Config, current: Config): ConfigDifference[] {
  return trajectoryDifferences(saved, current).filter(({ path }) =>
    SAMPLES.some((prefix) => path.startsWith(prefix)),
  );
}

/** `model.patch_size: 14 in the checkpoint, 16 here`, a line each. */
export function describeDifferences(list: readonly ConfigDifference[]): string {
  return list
    .map(({ path, saved, current }) => `  ${path}: ${show(saved)} in the checkpoint, ${show(current)} here`)
    .join('\n');
}

/** Where a run writes and how it computes; bits of the result do not depend on them. */
const WITHOUT_EFFECT: readonly string[] = [
  'train.output_dir',
  'train.auto_resume',
  'train.resume_from',
  'train.nan_check_period',
  'train.log_loss_every',
  'train.checkpointing.',
  'data.max_bad_share',
  'efficiency.dataloader_num_workers',
  'efficiency.backend',
  'efficiency.threads',
];

const SAMPLES: readonly string[] = ['train.seed', 'data.', 'optim.batch_size_per_gpu'];

function architecture(config: Config): Record<string, unknown> {
  const { model, capi } = config;
  const shape = runShape(config);
  const stack = ({ depth, embedDim, numHeads }: typeof shape.encoder) => ({ depth, embedDim, numHeads });
  const named = (prefix: string, values: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}${key}`, value]));
  return {
    'model.patch_size': model.patch_size,
    'model.n_registers': model.n_registers,
    'model.position': model.position,
    'model.predictor': model.predictor,
    ...named('encoder ', stack(shape.encoder)),
    ...named('predictor ', stack(shape.predictor)),
    // Learned positions are a parameter a position.
    ...(model.position === 'learned' ? { 'data.images_size': config.data.images_size } : {}),
    'capi.num_clusters': capi.num_clusters,
    'capi.clustering_kwargs.bias': capi.clustering_kwargs.bias,
    'capi.loss_variant': capi.loss_variant,
    'capi.target_source': capi.target_source,
  };
}

function differences(saved: Record<string, unknown>, current: Record<string, unknown>): ConfigDifference[] {
  return [...new Set([...Object.keys(saved), ...Object.keys(current)])]
    .filter((path) => !isDeepStrictEqual(saved[path], current[path]))
    .map((path) => ({ path, saved: saved[path], current: current[path] }));
}

function leaves(value: object, prefix = ''): string[] {
  return Object.entries(value).flatMap(([key, inner]) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? leaves(inner, `${prefix}${key}.`)
      : [prefix + key],
  );
}

function show(value: unknown): string {
  return value === undefined ? 'not set' : JSON.stringify(value);
}
