/** Batches on their way from the loader to the device, which then seldom waits for the host. */
import type { ImageLoader } from '../data/loader.js';
import type { Batch } from './batch.js';

export class BatchFeed {
  readonly #loader: ImageLoader;
  readonly #batch: Batch;
  #early: Promise<void> | undefined;

  constructor(loader: ImageLoader, batch: Batch) {
    this.#loader = loader;
    this.#batch = batch;
  }

  /** Enqueues the copy of the next batch as soon as the loader has it. Throws as ImageLoader.next. */
  async next(): Promise<void> {
    const upload = this.#early ?? this.#upload();
    this.#early = undefined;
    await upload;
  }

  /**
   * For while a step computes and before its results are read: where the loader has the next batch already, enqueues its copy
   * behind the step, and `next` has nothing left to do. What goes wrong is for `next` to throw.
   */
  async nextIfReady(): Promise<void> {
    if (!this.#loader.isReady) return;
    this.#early = this.#upload();
    await Promise.allSettled([this.#early]);
  }

  async #upload(): Promise<void> {
    this.#batch.upload(await this.#loader.next());
  }
}
