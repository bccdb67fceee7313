/**
 * Batches of random crops, prepared ahead by worker threads and delivered in order. What a batch holds is a function of
 * the seed, the dataset and its iteration: never of the number of workers or of what was loaded before.
 */
import { CapiError, invalidArgument } from '../native/errors.js';
import { type BadImageReport, BadImages } from './bad_images.js';
import type { BatchArrays, CropOptions } from './crop_samples.js';
import { type CropWorker, inlineCropWorker, threadCropWorker } from './crop_worker.js';
import { defaultPixelLimit } from './decode.js';
import type { ImageSource } from './image_source.js';
import type { CropTask, WorkerReply, WorkerSetup } from './loader_messages.js';
import { firstSample } from './sampler.js';

export interface LoaderOptions {
  /** Stays the caller's, who closes it after the loader. */
  readonly source: ImageSource;
  /** Images a batch on this rank. */
  readonly batchSize: number;
  /** Side of the square crops. */
  readonly imageSize: number;
  readonly seed: number;
  /** Share of the image's area that a crop covers; default [0.6, 1]. */
  readonly cropScale?: readonly [number, number] | undefined;
  /** Width over height of a crop; default [3/4, 4/3]. */
  readonly cropAspect?: readonly [number, number] | undefined;
  /** Probability of a mirrored crop; default 0.5. */
  readonly flipProbability?: number | undefined;
  /** Worker threads; 0: crops are made in this thread. Default 1. */
  readonly workers?: number | undefined;
  /** Batches prepared ahead; default 2. */
  readonly prefetch?: number | undefined;
  /** The iteration of the first batch; default 0. */
  readonly startIteration?: number | undefined;
  /** This process among `worldSize`; default 0 of 1. */
  readonly rank?: number | undefined;
  readonly worldSize?: number | undefined;
  /** Share of bad images that stops the run, from 100 images (or one epoch) on; default 0.01. */
  readonly maxBadShare?: number | undefined;
  /** Images of more pixels than this are bad; default 178 956 970. */
  readonly pixelLimit?: number | undefined;
  /** Called once for each bad image, as its batch is delivered. */
  readonly onBadImage?: ((image: BadImageReport) => void) | undefined;
}

/** Valid until the next call of `next`: its memory is then used again. */
export interface ImageBatch extends BatchArrays {
  readonly iteration: number;
}

export interface LoaderStats {
  readonly batches: number;
  /** Seconds spent waiting in `next`, and since the first call of it. */
  readonly waitSeconds: number;
  readonly totalSeconds: number;
  /** waitSeconds / totalSeconds. */
  readonly waitShare: number;
  /** Images read, and how many of these reads found a bad one. */
  readonly imagesRead: number;
  readonly badReads: number;
  readonly badImages: readonly BadImageReport[];
}

interface RunPlace {
  readonly batchSize: number;
  readonly rank: number;
  readonly worldSize: number;
  readonly startIteration: number;
}

interface PendingBatch {
  /** Bad images by the first row of their range. */
  readonly bad: Map<number, readonly BadImageReport[]>;
  missing: number;
}

/** A worker computes one range while the next one waits in its queue. */
const tasksEach = 2;

export class ImageLoader {
  readonly #run: RunPlace;
  readonly #setup: WorkerSetup;
  readonly #workers: readonly CropWorker[];
  readonly #running: number[]; // tasks under way, a worker
  readonly #bad: BadImages;
  readonly #pending = new Map<number, PendingBatch>();
  readonly #tasks: CropTask[] = [];
  #scheduled = 0; // batches whose tasks exist
  #delivered = 0;
  #failure: CapiError | undefined;
  #wake: (() => void) | undefined;
  #closed: Promise<void> | undefined;
  #firstCall: number | undefined;
  #waitMs = 0;

  constructor(options: LoaderOptions) {
    const { source, crop, workers, prefetch, run } = checked(options);
    this.#run = run;
    this.#bad = new BadImages({
      datasetLength: source.length,
      maxBadShare: options.maxBadShare ?? 0.01,
      setting: 'data.max_bad_share',
      report: options.onBadImage ?? (() => {}),
    });
    this.#setup = {
      source: source.descriptor,
      options: crop,
      slots: Array.from({ length: prefetch + 1 }, () => sharedBatch(run.batchSize, crop.imageSize)),
      stop: new Int32Array(new SharedArrayBuffer(4)),
    };
    this.#running = new Array<number>(Math.max(workers, 1)).fill(0);
    this.#workers = this.#running.map((_, number) => {
      const events = {
        reply: (reply: WorkerReply) => this.#onReply(number, reply),
        crashed: (error: CapiError) => this.#fail(error),
      };
      return workers === 0
        ? inlineCropWorker(source, this.#setup, events)
        : threadCropWorker(this.#setup, events);
    });
    this.#hold(false);
    this.#schedule();
  }

  /**
   * The next batch. Throws ERR_CAPI_DATA when too many images are bad, and another code when the system or the program
   * failed; repeats that error from then on.
   */
  async next(): Promise<ImageBatch> {
    if (this.#closed) throw new CapiError('ERR_CAPI_DISPOSED', 'Expected an open loader but it was closed');
    if (this.#wake) throw invalidArgument('next', 'one call at a time', 'a second one');
    const called = performance.now();
    this.#firstCall ??= called;
    const number = this.#delivered;
    this.#schedule();
    while (!this.#failure && !this.#closed && this.#pending.get(number)?.missing !== 0) {
      this.#hold(true);
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#wake = undefined;
      this.#hold(false);
    }
    this.#waitMs += performance.now() - called;
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new CapiError('ERR_CAPI_DISPOSED', 'Expected an open loader but it was closed');
    this.#count(number);
    this.#delivered += 1;
    const slot = this.#setup.slots[number % this.#setup.slots.length] as BatchArrays;
    return { ...slot, iteration: this.#run.startIteration + number };
  }

  /** Whether the next batch is complete, so that `next` need not wait. */
  get isReady(): boolean {
    return this.#pending.get(this.#delivered)?.missing === 0;
  }

  get stats(): LoaderStats {
    const totalSeconds = this.#firstCall === undefined ? 0 : (performance.now() - this.#firstCall) / 1000;
    const waitSeconds = this.#waitMs / 1000;
    return {
      batches: this.#delivered,
      waitSeconds,
      totalSeconds,
      waitShare: totalSeconds > 0 ? waitSeconds / totalSeconds : 0,
      imagesRead: this.#bad.reads,
      badReads: this.#bad.count,
      badImages: this.#bad.named,
    };
  }

  /** Ends the workers, also in the middle of a batch. May be called more than once. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    Atomics.store(this.#setup.stop, 0, 1);
    this.#tasks.length = 0;
    this.#wake?.();
    await Promise.all(this.#workers.map((worker) => worker.stop()));
  }

  /** Called when the batch delivered last may be overwritten: every slot holds, or will hold, one of the next batches. */
  #schedule(): void {
    const { batchSize, rank, worldSize, startIteration } = this.#run;
    const { length: slots } = this.#setup.slots;
    const ranges = Math.min(this.#workers.length, batchSize);
    for (; this.#scheduled < this.#delivered + slots; this.#scheduled++) {
      const batch = this.#scheduled;
      const first = firstSample(startIteration + batch, rank, worldSize, batchSize);
      this.#pending.set(batch, { bad: new Map(), missing: ranges });
      for (let range = 0; range < ranges; range++) {
        this.#tasks.push({
          batch,
          slot: batch % slots,
          begin: Math.floor((range * batchSize) / ranges),
          end: Math.floor(((range + 1) * batchSize) / ranges),
          firstSample: first,
        });
      }
    }
    this.#post();
  }

  #post(): void {
    for (let load = 0; load < tasksEach; load++) {
      this.#workers.forEach((worker, number) => {
        if (this.#running[number] !== load) return;
        const task = this.#tasks.shift();
        if (task === undefined) return;
        this.#running[number] = load + 1;
        worker.post(task);
      });
    }
  }

  #onReply(number: number, reply: WorkerReply): void {
    this.#running[number] = (this.#running[number] ?? 1) - 1;
    if (this.#closed) return;
    if ('failed' in reply) {
      this.#fail(new CapiError(reply.failed.code, reply.failed.message));
      return;
    }
    const pending = this.#pending.get(reply.batch);
    if (pending !== undefined) {
      pending.bad.set(reply.begin, reply.bad);
      pending.missing -= 1;
    }
    this.#post();
    this.#wake?.();
  }

  /** In order of batches and rows, so that what is counted does not depend on which worker was first. */
  #count(number: number): void {
    const ranges = [...(this.#pending.get(number)?.bad ?? [])].sort(([a], [b]) => a - b);
    this.#pending.delete(number);
    try {
      this.#bad.add(
        this.#run.batchSize,
        ranges.flatMap(([, bad]) => bad),
      );
    } catch (error) {
      this.#fail(error as CapiError);
      throw error;
    }
  }

  #fail(error: CapiError): void {
    this.#failure ??= error;
    this.#tasks.length = 0;
    this.#wake?.();
  }

  #hold(alive: boolean): void {
    for (const worker of this.#workers) worker.hold(alive);
  }
}

function sharedBatch(batchSize: number, imageSize: number): BatchArrays {
  return {
    images: new Uint8Array(new SharedArrayBuffer(batchSize * imageSize * imageSize * 3)),
    flips: new Uint8Array(new SharedArrayBuffer(batchSize)),
    samples: new Int32Array(new SharedArrayBuffer(batchSize * 8)),
  };
}

function checked(options: LoaderOptions) {
  const { source, batchSize, imageSize, seed } = options;
  const [minScale, maxScale] = options.cropScale ?? [0.6, 1];
  const [minAspect, maxAspect] = options.cropAspect ?? [3 / 4, 4 / 3];
  const { workers = 1, prefetch = 2, startIteration = 0, rank = 0, worldSize = 1 } = options;
  const { flipProbability = 0.5, maxBadShare = 0.01, pixelLimit = defaultPixelLimit } = options;
  integer('batchSize', batchSize, 1, 2 ** 24);
  integer('imageSize', imageSize, 1, 16_384);
  integer('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  integer('workers', workers, 0, 1024);
  integer('prefetch', prefetch, 1, 1024);
  integer('startIteration', startIteration, 0, Number.MAX_SAFE_INTEGER);
  integer('worldSize', worldSize, 1, 2 ** 20);
  integer('rank', rank, 0, worldSize - 1);
  integer('pixelLimit', pixelLimit, 1, 2 ** 40);
  if (!(minScale > 0 && minScale <= maxScale && maxScale <= 1)) {
    throw invalidArgument('cropScale', '0 < low <= high <= 1', options.cropScale);
  }
  if (!(minAspect > 0 && minAspect <= maxAspect && maxAspect < Number.POSITIVE_INFINITY)) {
    throw invalidArgument('cropAspect', '0 < low <= high', options.cropAspect);
  }
  share('flipProbability', flipProbability);
  share('maxBadShare', maxBadShare);
  if (batchSize * worldSize > source.length) {
    throw new CapiError(
      'ERR_CAPI_DATA',
      `Expected a batch of at most the ${source.length} images of the dataset but received ${batchSize}` +
        `${worldSize > 1 ? ` on each of ${worldSize} ranks` : ''}. Lower the batch size (optim.batch_size_per_gpu) or add images.`,
    );
  }
  const crop: CropOptions = {
    seed,
    imageSize,
    minScale,
    maxScale,
    minAspect,
    maxAspect,
    flipProbability,
    pixelLimit,
  };
  return {
    source,
    crop,
    workers,
    prefetch,
    run: { batchSize, rank, worldSize, startIteration } satisfies RunPlace,
  };
}

function integer(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw invalidArgument(name, `an integer in [${least}, ${most}]`, value);
}

function share(name: string, value: number): void {
  if (!(value >= 0 && value <= 1)) throw invalidArgument(name, 'a number in [0, 1]', value);
}
