/**
 * The training loop: resume, feed the step, watch for trouble, log, save. What a step computes is in step.ts.
 * A run killed at any moment continues from its last checkpoint to the same bits as if it had never stopped.
 */
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  type LoadedCheckpoint,
  latestCheckpoint,
  loadCheckpoint,
  resolveCheckpoint,
  saveCheckpoint,
} from '../checkpoint/checkpoint.js';
import type { TensorEntry } from '../checkpoint/safetensors.js';
import { describeDifferences, trajectoryDifferences } from '../config/compare.js';
import { resolveConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { type ImageBatch, ImageLoader } from '../data/loader.js';
import { openSource } from '../data/source.js';
import { isEncoderParameter } from '../model/backbone_layout.js';
import { addon } from '../native/addon.js';
import { selectBackend } from '../native/backend.js';
import { CapiError } from '../native/errors.js';
import { versions } from '../native/versions.js';
import { type Health, PrototypeUse } from './health.js';
import { METRICS_FILE_NAME, MetricsFile, type MetricsWindows } from './metrics_file.js';
import { writeResolvedConfig } from './resolved_config.js';
import { RunLock } from './run_lock.js';
import { networkPrefixes, readState, writeSet, writeState } from './run_state.js';
import { trainStep } from './step.js';
import { StopSignals } from './stop_signals.js';
import { TrainingRun } from './training_run.js';

/** What one step tells. */
export interface StepReport {
  /** Iterations done, this one included. */
  readonly iteration: number;
  readonly capiLoss: number;
  readonly clusteringLoss: number;
  readonly targetEntropy: number;
  /** A loss or a gradient was not finite, so nothing was updated. */
  readonly skipped: boolean;
  /** On logged steps. */
  readonly health?: Health | undefined;
}

export interface TrainListener {
  /** Once, before the first step. */
  onStart?(start: { readonly iteration: number; readonly images: number; readonly dataset: string }): void;
  onStep?(report: StepReport): void;
  /** A sentence for people: bad images, skipped steps, saved checkpoints. */
  onNote?(note: string): void;
}

export interface TrainResult {
  readonly iteration: number;
  /** False when a signal or `stop` ended the run early. */
  readonly finished: boolean;
  /** State file of the last checkpoint. */
  readonly checkpoint: string;
  /** Share of the time that the step waited for data. */
  readonly dataWaitShare: number;
  readonly skippedSteps: number;
  readonly peakBytes: number;
}

export interface TrainOptions extends TrainListener {
  /** Asked after every step: true saves and ends the run. */
  readonly stop?: () => boolean;
}

/** Loader workers that a machine of fewer cores may have all the same: decoding waits for the disk too. */
const fewWorkers = 4;
/** Steps in a row with non-finite losses or gradients that end a run. */
const mostSkipped = 3;

/** f64 [K] in a checkpoint: PrototypeUse.mass, so that a resumed run logs what an uninterrupted one would. */
const massName = 'health.prototype_mass';

/**
 * Trains until `optim.total_iters`, a signal, or `stop`. Continues from the newest checkpoint of the output folder.
 * Throws CapiError: …_RUN_LOCKED, …_DATA, …_CHECKPOINT_CORRUPT, …_CHECKPOINT_MISMATCH, …_NOT_FINITE, …_OUT_OF_MEMORY.
 */
export async function train(config: Config, options: TrainOptions = {}): Promise<TrainResult> {
  const { train: settings, efficiency } = config;
  mkdirSync(settings.output_dir, { recursive: true });
  using _lock = await RunLock.acquire(settings.output_dir);
  const { backend, reason } = selectBackend(efficiency.backend);
  options.onNote?.(`backend ${backend}: ${reason}`);
  addon.setThreads(efficiency.threads || availableParallelism());
  using run = new TrainingRun(config);
  run.start();
  const resumed = await resume(run, options);
  await writeResolvedConfig(config, settings.output_dir);
  return await new Trainer(run, resumed, options).loop();
}

interface Resumed {
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

async function resume(run: TrainingRun, { onNote }: TrainOptions): Promise<Resumed> {
  const { config } = run;
  const loaded = await startingCheckpoint(config);
  if (loaded === undefined) {
    if (config.capi.target_source === 'frozen_teacher') await loadFrozenTeacher(run);
    return fromTheStart;
  }
  const { path, state, tensors } = loaded;
  const isMass = ({ name }: TensorEntry) => name === massName;
  const others = tensors.filter((entry) => !isMass(entry));
  writeState(run, others, path);
  const changed = trajectoryDifferences(resolveConfig(state.config, [], path).config, config);
  if (changed.length > 0)
    onNote?.(`the configuration changed since ${path}:\n${describeDifferences(changed)}`);
  onNote?.(`continuing from ${path} at iteration ${state.iteration}`);
  return {
    iteration: state.iteration,
    skippedSteps: state.counters.skipped_steps ?? 0,
    windows: (state.extras as { windows?: MetricsWindows } | undefined)?.windows ?? {},
    prototypeMass: tensors.find(isMass),
    checkpoint: path,
  };
}

/**
 * `train.resume_from` says where a run begins. Once the run has saved a checkpoint of its own, the same command continues
 * from that: a run that is killed and started again keeps what it did since.
 */
async function startingCheckpoint(config: Config): Promise<LoadedCheckpoint | undefined> {
  const { resume_from: origin, auto_resume: continues } = config.train;
  const newest = continues ? await latestCheckpoint(checkpointFolder(config)) : undefined;
  if (origin === null) return newest === undefined ? undefined : await loadCheckpoint(newest);
  const branch = newest === undefined ? undefined : await loadCheckpoint(newest).catch(() => undefined);
  if ((branch?.state.config as Config | undefined)?.train.resume_from === origin) return branch;
  return await loadCheckpoint(await resolveCheckpoint(origin));
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

function checkpointFolder(config: Config): string {
  return join(config.train.output_dir, 'checkpoints');
}

class Trainer {
  readonly #run: TrainingRun;
  readonly #options: TrainOptions;
  readonly #resumed: Resumed;
  readonly #use: PrototypeUse;
  #iteration: number;
  #skippedSteps: number;
  #skippedInARow = 0;
  #lastCheckpoint: string | undefined;
  /** The iteration of that checkpoint; where the run began when it has none yet. */
  #saved: number;

  constructor(run: TrainingRun, resumed: Resumed, options: TrainOptions) {
    this.#run = run;
    this.#options = options;
    this.#resumed = resumed;
    this.#iteration = resumed.iteration;
    this.#skippedSteps = resumed.skippedSteps;
    this.#lastCheckpoint = resumed.checkpoint;
    this.#saved = resumed.iteration;
    this.#use = new PrototypeUse(run.network.head.numClusters);
    const { prototypeMass } = resumed;
    if (prototypeMass) this.#use.mass.set(new Float64Array(prototypeMass.data.slice().buffer));
  }

  async loop(): Promise<TrainResult> {
    const { config } = this.#run;
    const { train: settings, optim } = config;
    const source = openSource(config.data.dataset);
    let loader: ImageLoader | undefined;
    using signals = new StopSignals();
    try {
      loader = makeLoader(config, source, this.#iteration, this.#options);
      using metrics = await MetricsFile.open(
        join(settings.output_dir, METRICS_FILE_NAME),
        this.#iteration,
        this.#resumed.windows,
      );
      this.#options.onStart?.({
        iteration: this.#iteration,
        images: source.length,
        dataset: config.data.dataset,
      });
      while (this.#iteration < optim.total_iters) {
        await this.#step(loader, metrics);
        const stopping = signals.received !== undefined || this.#options.stop?.() === true;
        const due = this.#iteration % settings.checkpointing.period === 0;
        if (due || stopping || this.#iteration === optim.total_iters) {
          if (this.#skippedInARow === 0 || stopping) await this.#save(metrics);
        }
        if (stopping) break;
      }
      if (this.#saved < this.#iteration || this.#lastCheckpoint === undefined) await this.#save(metrics);
      return {
        iteration: this.#iteration,
        finished: this.#iteration >= optim.total_iters,
        checkpoint: this.#lastCheckpoint as string,
        dataWaitShare: loader.stats.waitShare,
        skippedSteps: this.#skippedSteps,
        peakBytes: addon.stats().peakBytes,
      };
    } finally {
      await loader?.close();
      await source.close();
    }
  }

  /** When there is no next batch, what was computed until then is sound: it is saved before the run ends. */
  async #nextBatch(loader: ImageLoader, metrics: MetricsFile): Promise<ImageBatch> {
    try {
      return await loader.next();
    } catch (error) {
      if (this.#saved < this.#iteration && this.#skippedInARow === 0) await this.#save(metrics);
      throw error;
    }
  }

  async #step(loader: ImageLoader, metrics: MetricsFile): Promise<void> {
    const { config, schedules, batch, results } = this.#run;
    const iteration = this.#iteration;
    const began = performance.now();
    const images = await this.#nextBatch(loader, metrics);
    const fed = performance.now();

    batch.upload(images);
    trainStep(this.#run, iteration);
    const [capiLoss = Number.NaN] = await results.capiLoss.readFloats();
    const [clusteringLoss = Number.NaN] = await results.clusteringLoss.readFloats();
    const [targetEntropy = Number.NaN] = await results.targetEntropy.readFloats();
    const [nonfinite = 0] = await results.nonfinite.readFloats();
    const skipped = nonfinite !== 0;
    if (!skipped) this.#use.add(await results.mass.readFloats());
    this.#iteration += 1;

    metrics.update(
      {
        lr: schedules.learningRate.at(iteration),
        mom: schedules.momentum.at(iteration),
        current_batch_size: config.optim.batch_size_per_gpu,
        total_loss: capiLoss + clusteringLoss,
        target_entropy: targetEntropy,
        capi_loss: capiLoss,
        clustering_loss: clusteringLoss,
      },
      { iter_time: (performance.now() - began) / 1000, data_time: (fed - began) / 1000 },
    );
    const logged =
      iteration % config.train.log_loss_every === 0 || this.#iteration === config.optim.total_iters;
    let health: Health | undefined;
    if (logged) {
      health = this.#use.summary(await results.collapse.readFloats());
      this.#use.reset();
      const wasBehind = metrics.isBehind;
      metrics.write(iteration, { ...health, data_wait_share: loader.stats.waitShare });
      if (metrics.isBehind && !wasBehind) {
        this.#options.onNote?.(`cannot write to ${metrics.path}; its lines wait until that works again`);
      }
    }
    this.#options.onStep?.({
      iteration: this.#iteration,
      capiLoss,
      clusteringLoss,
      targetEntropy,
      skipped,
      health,
    });
    this.#guard(skipped, nonfinite);
  }

  /** A step with a non-finite loss or gradient changed nothing; several in a row will not heal. */
  #guard(skipped: boolean, nonfinite: number): void {
    this.#skippedInARow = skipped ? this.#skippedInARow + 1 : 0;
    if (!skipped) return;
    this.#skippedSteps += 1;
    this.#options.onNote?.(
      `iteration ${this.#iteration - 1}: ${nonfinite} losses and gradients are not finite; the step was skipped`,
    );
    if (this.#skippedInARow < mostSkipped || this.#run.config.train.nan_check_period === 0) return;
    throw new CapiError(
      'ERR_CAPI_NOT_FINITE',
      `${mostSkipped} steps in a row had non-finite losses or gradients, the last at iteration ${this.#iteration - 1}. ` +
        (this.#lastCheckpoint
          ? `The last good checkpoint is ${this.#lastCheckpoint}; continue from it with a lower optim.lr_schedule.base_value.`
          : 'There is no checkpoint yet; start again with a lower optim.lr_schedule.base_value.'),
    );
  }

  async #save(metrics: MetricsFile): Promise<void> {
    const { config } = this.#run;
    const saved = await saveCheckpoint(
      checkpointFolder(config),
      {
        iteration: this.#iteration,
        config,
        counters: { skipped_steps: this.#skippedSteps },
        extras: { windows: metrics.windows() },
        versions: versions(),
      },
      [...(await readState(this.#run)), this.#prototypeMass()],
      { keep: config.train.checkpointing.max_to_keep },
    );
    this.#lastCheckpoint = saved.path;
    this.#saved = this.#iteration;
  }

  #prototypeMass(): TensorEntry {
    const { mass } = this.#use;
    return { name: massName, dtype: 'f64', shape: [mass.length], data: new Uint8Array(mass.slice().buffer) };
  }
}

function makeLoader(
  config: Config,
  source: ReturnType<typeof openSource>,
  startIteration: number,
  { onNote }: TrainOptions,
): ImageLoader {
  const { data, optim, efficiency, train: settings } = config;
  return new ImageLoader({
    source,
    batchSize: optim.batch_size_per_gpu,
    imageSize: data.images_size,
    seed: settings.seed,
    cropScale: data.crop_scale,
    flipProbability: data.do_hflip ? 0.5 : 0,
    workers: Math.min(efficiency.dataloader_num_workers, Math.max(availableParallelism(), fewWorkers)),
    startIteration,
    maxBadShare: data.max_bad_share,
    onBadImage: (image) => onNote?.(`left out a bad image: ${image.reason}`),
  });
}
