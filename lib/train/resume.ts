/** Where a run begins: at its own newest checkpoint, at one that the configuration names, or at the beginning. */
import { resolve } from 'node:path';
import {
  CheckpointCorruptError,
  type LoadedCheckpoint,
  latestCheckpoint,
  loadCheckpoint,
  resolveCheckpoint,
} from '../checkpoint/checkpoint.js';
import type { TensorEntry } from '../checkpoint/safetensors.js';
import {
  architectureDifferences,
  describeDifferences,
  sampleDifferences,
  trajectoryDifferences,
} from '../config/compare.js';
import { resolveConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { isEncoderParameter } from '../model/backbone_layout.js';
import { CapiError } from '../native/errors.js';
import { isPrototypeMass } from './health.js';
import type { MetricsWindows } from './metrics_file.js';
import { checkpointFolder } from './run_checkpoints.js';
import { networkPrefixes, writeSet, writeState } from './run_state.js';
import type { TrainingRun } from './training_run.js';

/** What the loop continues from. */
export interface Resumed {
  readonly iteration: number;
  readonly skippedSteps: number;
  readonly windows: MetricsWindows;
  readonly prototypeMass: TensorEntry | undefined;
  readonly checkpoint: string | undefined;
}

const fromTheStart: Resumed = {
  iteration: 0,
  skippedSteps: 0,
  windows: {},
  prototypeMass: undefined,
  checkpoint: undefined,
};

/** Writes the weights that the run begins with. Throws …_CHECKPOINT_CORRUPT, …_CHECKPOINT_MISMATCH, …_CHECKPOINT_NOT_FOUND. */
export async function resume(run: TrainingRun, onNote: (note: string) => void): Promise<Resumed> {
  const { config } = run;
  const begin = await startingCheckpoint(config);
  if (begin === undefined) {
    if (config.capi.target_source === 'frozen_teacher') await loadFrozenTeacher(run);
    return fromTheStart;
  }
  const { path, state, tensors } = begin.loaded;
  writeState(
    run,
    tensors.filter((entry) => !isPrototypeMass(entry)),
    path,
  );
  const saved = resolveConfig(state.config, [], path).config;
  if (!begin.asked) refuseOtherRun(saved, config, path);
  const changed = [...architectureDifferences(saved, config), ...trajectoryDifferences(saved, config)];
  if (changed.length > 0) onNote(`the configuration changed since ${path}:\n${describeDifferences(changed)}`);
  onNote(`continuing from ${path} at iteration ${state.iteration}`);
  return {
    iteration: state.iteration,
    skippedSteps: state.counters.skipped_steps ?? 0,
    windows: (state.extras as { windows?: MetricsWindows } | undefined)?.windows ?? {},
    prototypeMass: tensors.find(isPrototypeMass),
    checkpoint: path,
  };
}

interface Begin {
  readonly loaded: LoadedCheckpoint;
  /** The configuration names it; else it is the newest of the run folder. */
  readonly asked: boolean;
}

/**
 * `train.resume_from` says where a run begins. Once the run has saved a checkpoint of its own, the same command continues
 * from that: a run that is killed and started again keeps what it did since. When that checkpoint is damaged, the run begins
 * at `train.resume_from` only where it names what the damage leaves as the newest: elsewhere steps would be lost unsaid.
 */
async function startingCheckpoint(config: Config): Promise<Begin | undefined> {
  const { resume_from: origin, auto_resume: continues, output_dir: folder } = config.train;
  const newest = continues ? await latestCheckpoint(checkpointFolder(folder)) : undefined;
  if (origin === null) {
    return newest === undefined ? undefined : { loaded: await loadCheckpoint(newest), asked: false };
  }
  if (newest !== undefined) {
    try {
      const own = await loadCheckpoint(newest);
      if ((own.state.config as Config).train.resume_from === origin) return { loaded: own, asked: false };
    } catch (error) {
      if (!(await isOffered(origin, error))) throw error;
    }
  }
  return { loaded: await loadCheckpoint(await resolveCheckpoint(origin)), asked: true };
}

/** True where `origin` is the checkpoint that the message of this damage tells to continue from. */
async function isOffered(origin: string, error: unknown): Promise<boolean> {
  if (!(error instanceof CheckpointCorruptError) || error.previousGood === undefined) return false;
  const named = await resolveCheckpoint(origin).catch(() => origin); // it may be pruned
  return resolve(named) === resolve(error.previousGood);
}

/** Going on with other samples or another network of the same tensors is seldom meant, and nothing later would show it. */
function refuseOtherRun(saved: Config, config: Config, path: string): void {
  const changed = [...architectureDifferences(saved, config), ...sampleDifferences(saved, config)];
  if (changed.length === 0) return;
  throw new CapiError(
    'ERR_CAPI_CHECKPOINT_MISMATCH',
    `The run in ${config.train.output_dir} is another one: its checkpoint ${path} differs in the samples or the network\n` +
      `${describeDifferences(changed)}\n` +
      'Give another train.output_dir to start anew. To go on from that checkpoint with these settings all the same, add ' +
      `train.resume_from=${path}`,
  );
}

/** The fixed teacher of the `frozen_teacher` ablation: the encoder of another run, its EMA. */
async function loadFrozenTeacher(run: TrainingRun): Promise<void> {
  const { teacher_weights: named } = run.config.capi;
  if (named === null) {
    throw new CapiError(
      'ERR_CAPI_INVALID_CONFIG',
      'Expected capi.teacher_weights to name a checkpoint for capi.target_source=frozen_teacher but received null',
    );
  }
  const path = await resolveCheckpoint(named);
  const prefix = networkPrefixes.studentEma;
  const needed = run.layout.parameters.filter(({ name }) => isEncoderParameter(name));
  const { tensors } = await loadCheckpoint(path, (name) => name.startsWith(prefix));
  const byName = new Map(tensors.map((entry) => [entry.name.slice(prefix.length), entry]));
  const missing = needed.filter(({ name, size }) => byName.get(name)?.data.byteLength !== 4 * size);
  if (missing.length > 0) {
    throw new CapiError(
      'ERR_CAPI_CHECKPOINT_MISMATCH',
      `${path} lacks these tensors in the shape of this model: ${missing.map(({ name }) => name).join(', ')}`,
    );
  }
  writeSet(run.teacherMaster, (name) => (isEncoderParameter(name) ? byName.get(name) : undefined));
  run.refreshCopies();
}
