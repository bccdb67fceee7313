/**
 * The training loop: resume, feed the step, watch for trouble, log, save. What a step computes is in step.ts.
 * A run killed at any moment continues from its last checkpoint to the same bits as if it had never stopped.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config/schema.js';
import type { ImageSource } from '../data/image_source.js';
import { ImageLoader } from '../data/loader.js';
import { openSource } from '../data/source.js';
import { addon, type Backend } from '../native/addon.js';
import { selectBackend } from '../native/backend.js';
import { CapiError, type CapiErrorCode, isCapiError } from '../native/errors.js';
import { versions } from '../native/versions.js';
import { BatchFeed } from './batch_feed.js';
import { expectRoom, withAdvice } from './device_memory.js';
import { type Health, PrototypeUse } from './health.js';
import { METRICS_FILE_NAME, MetricsFile } from './metrics_file.js';
import { writeResolvedConfig } from './resolved_config.js';
import { type Resumed, resume } from './resume.js';
import { RunCheckpoints, type Snapshot } from './run_checkpoints.js';
import { RunFolder } from './run_folder.js';
import { RunLock } from './run_lock.js';
import { readState } from './run_state.js';
import { trainStep } from './step.js';
import { readNumbers } from './step_results.js';
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
  /** A sentence for people: bad images, skipped steps, saves that failed. */
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
  /** Of tensors, on the device that computed. */
  readonly peakBytes: number;
}

export interface TrainOptions extends TrainListener {
  /** Asked after every step: true saves and ends the run. */
  readonly stop?: () => boolean;
}

/** Loader workers that a machine of fewer cores may have all the same: decoding waits for the disk too. */
const fewWorkers = 4;
/** What may end a run at any moment through no fault of its configuration. */
const deviceFailures: readonly CapiErrorCode[] = ['ERR_CAPI_CUDA', 'ERR_CAPI_OUT_OF_MEMORY'];
/** Steps in a row with non-finite losses or gradients that end a run. */
const mostSkipped = 3;

/**
 * Trains until `optim.total_iters`, a signal, or `stop`. Continues from the newest checkpoint of the output folder. What can be
 * known to fail is checked first: a run that cannot take a step writes nothing.
 * Throws CapiError: …_BACKEND_UNAVAILABLE, …_DATA, …_RUN_LOCKED, …_CHECKPOINT_CORRUPT, …_CHECKPOINT_MISMATCH,
 * …_CHECKPOINT_WRITE, …_NOT_FINITE, …_OUT_OF_MEMORY, …_CUDA.
 */
export async function train(config: Config, options: TrainOptions = {}): Promise<TrainResult> {
  const { train: settings, efficiency } = config;
  const { backend, reason } = selectBackend(efficiency.backend, 'efficiency.backend=');
  await using source = openSource(config.data.dataset);
  using _folder = new RunFolder(settings.output_dir);
  using _lock = await RunLock.acquire(settings.output_dir);
  options.onNote?.(`backend ${backend}: ${reason}`);
  addon.setThreads(efficiency.threads || availableParallelism());
  if (backend === 'cuda') expectRoom(config);
  using run = new TrainingRun(config, { backend });
  try {
    run.start();
    const resumed = await resume(run, (note) => options.onNote?.(note));
    return await new Trainer(run, source, resumed, options).loop();
  } catch (error) {
    throw backend === 'cuda' ? withAdvice(error, config) : error;
  }
}

/** When a step's batch was asked for and when it came, in ms. */
interface Fed {
  readonly began: number;
  readonly fed: number;
}

class Trainer {
  readonly #run: TrainingRun;
  readonly #source: ImageSource;
  readonly #options: TrainOptions;
  readonly #resumed: Resumed;
  readonly #use: PrototypeUse;
  #iteration: number;
  #skippedSteps: number;
  #skippedInARow = 0;

  constructor(run: TrainingRun, source: ImageSource, resumed: Resumed, options: TrainOptions) {
    this.#run = run;
    this.#source = source;
    this.#options = options;
    this.#resumed = resumed;
    this.#iteration = resumed.iteration;
    this.#skippedSteps = resumed.skippedSteps;
    this.#use = new PrototypeUse(run.network.head.numClusters, resumed.prototypeMass);
  }

  async loop(): Promise<TrainResult> {
    const { config } = this.#run;
    const { output_dir: folder } = config.train;
    using signals = new StopSignals();
    const loader = makeLoader(config, this.#source, this.#iteration, this.#options);
    const feed = new BatchFeed(loader, this.#run.batch);
    let checkpoints: RunCheckpoints | undefined;
    try {
      // Only a run with something left to do, and something to train on, writes its settings.
      let fed = this.#isDone ? undefined : await nextBatch(feed);
      if (fed !== undefined) await writeResolvedConfig(config, folder);
      using metrics = await MetricsFile.open(
        join(folder, METRICS_FILE_NAME),
        this.#iteration,
        this.#resumed.windows,
      );
      checkpoints = this.#checkpoints(metrics);
      const { length: images } = this.#source;
      this.#options.onStart?.({ iteration: this.#iteration, images, dataset: config.data.dataset });
      while (fed) {
        trainStep(this.#run, this.#iteration);
        await feed.nextIfReady();
        await this.#finishStep(fed, loader, metrics);
        this.#guard(checkpoints);
        if (this.#isDone || signals.received !== undefined || this.#options.stop?.() === true) break;
        // After a skipped step the weights may be the reason for it: only after a good one do they replace older ones.
        if (this.#skippedInARow === 0 && checkpoints.isDue(this.#iteration)) {
          await checkpoints.trySave(this.#iteration);
        }
        fed = await this.#nextBatch(feed, checkpoints);
      }
      if (!checkpoints.isCurrent(this.#iteration)) await checkpoints.save();
      return {
        iteration: this.#iteration,
        finished: this.#isDone,
        checkpoint: checkpoints.last as string,
        dataWaitShare: loader.stats.waitShare,
        skippedSteps: this.#skippedSteps,
        peakBytes: peakBytes(this.#run.backend),
      };
    } catch (error) {
      throw this.#withCheckpoint(error, checkpoints?.last ?? this.#resumed.checkpoint);
    } finally {
      await loader.close();
    }
  }

  /** After a fault of the device, or where memory ran out, what is left is on disk. */
  #withCheckpoint(error: unknown, last: string | undefined): unknown {
    if (!isCapiError(error) || !deviceFailures.includes(error.code)) return error;
    const rest = last
      ? `The last good checkpoint is ${last}; the same command continues from it`
      : 'There is no checkpoint yet';
    return new CapiError(
      error.code,
      `${error.message.replace(/\.$/, '')}. The run stopped in iteration ${this.#iteration}. ${rest}`,
      { cause: error },
    );
  }

  get #isDone(): boolean {
    return this.#iteration >= this.#run.config.optim.total_iters;
  }

  /** When there is no next batch, what was computed until then is saved before the run ends. */
  async #nextBatch(feed: BatchFeed, checkpoints: RunCheckpoints): Promise<Fed> {
    try {
      return await nextBatch(feed);
    } catch (error) {
      if (!checkpoints.isCurrent(this.#iteration)) await checkpoints.trySave(this.#iteration);
      throw error;
    }
  }

  /** Waits for the step's numbers and tells them. */
  async #finishStep({ began, fed }: Fed, loader: ImageLoader, metrics: MetricsFile): Promise<void> {
    const { config, schedules, results } = this.#run;
    const iteration = this.#iteration;
    const { capiLoss, clusteringLoss, targetEntropy, nonfinite, mass } = await readNumbers(results);
    const skipped = nonfinite !== 0;
    if (!skipped) this.#use.add(mass);
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
    const logged = iteration % config.train.log_loss_every === 0 || this.#isDone;
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
    this.#countSkipped(nonfinite);
  }

  #countSkipped(nonfinite: number): void {
    this.#skippedInARow = nonfinite > 0 ? this.#skippedInARow + 1 : 0;
    if (nonfinite === 0) return;
    this.#skippedSteps += 1;
    this.#options.onNote?.(
      `iteration ${this.#iteration - 1}: ${nonfinite} losses and gradients are not finite; the step was skipped`,
    );
  }

  /** A step with a non-finite loss or gradient changed nothing; several in a row will not heal. */
  #guard({ last }: RunCheckpoints): void {
    if (this.#skippedInARow < mostSkipped || this.#run.config.train.nan_check_period === 0) return;
    throw new CapiError(
      'ERR_CAPI_NOT_FINITE',
      `${mostSkipped} steps in a row had non-finite losses or gradients, the last at iteration ${this.#iteration - 1}. ` +
        (last
          ? `The last good checkpoint is ${last}; continue from it with a lower optim.lr_schedule.base_value.`
          : 'There is no checkpoint yet; start again with a lower optim.lr_schedule.base_value.'),
    );
  }

  #checkpoints(metrics: MetricsFile): RunCheckpoints {
    const { config } = this.#run;
    const { iteration, checkpoint } = this.#resumed;
    return new RunCheckpoints({
      config,
      iteration,
      checkpoint,
      snapshot: () => this.#snapshot(metrics),
      onNote: (note) => this.#options.onNote?.(note),
      onFailure: (failure) => metrics.record(failure),
    });
  }

  async #snapshot(metrics: MetricsFile): Promise<Snapshot> {
    return {
      state: {
        iteration: this.#iteration,
        config: this.#run.config,
        counters: { skipped_steps: this.#skippedSteps },
        extras: { windows: metrics.windows() },
        versions: versions(),
      },
      tensors: [...(await readState(this.#run)), this.#use.entry()],
    };
  }
}

function peakBytes(backend: Backend): number {
  const stats = addon.stats();
  return backend === 'cuda' ? stats.devicePeakBytes : stats.peakBytes;
}

async function nextBatch(feed: BatchFeed): Promise<Fed> {
  const began = performance.now();
  await feed.next();
  return { began, fed: performance.now() };
}

function makeLoader(
  config: Config,
  source: ImageSource,
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
