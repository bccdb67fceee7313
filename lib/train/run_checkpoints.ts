/**
 * When a run saves, and what follows when it cannot: a periodic save that the file system refuses costs nothing but a note
 * and a record, for the run goes on and tries again; the last save of a run must succeed.
 */
import { join } from 'node:path';
import { CheckpointWriteError, saveCheckpoint } from '../checkpoint/checkpoint.js';
import type { TensorEntry } from '../checkpoint/safetensors.js';
import type { CheckpointState } from '../checkpoint/state_file.js';
import type { Config } from '../config/schema.js';
import { CapiError } from '../native/errors.js';
import type { SaveFailure } from './metrics_file.js';

export interface Snapshot {
  readonly state: CheckpointState;
  readonly tensors: readonly TensorEntry[];
}

export interface RunCheckpointsOptions {
  readonly config: Config;
  /** Where the run begins: the iteration, and the checkpoint it was loaded from. */
  readonly iteration: number;
  readonly checkpoint: string | undefined;
  /** Copies the run as it stands. */
  readonly snapshot: () => Promise<Snapshot>;
  readonly onNote: (note: string) => void;
  readonly onFailure: (failure: SaveFailure) => void;
}

/** Tries within a period, after a save that failed. */
const retries = 4;

export function checkpointFolder(runFolder: string): string {
  return join(runFolder, 'checkpoints');
}

export class RunCheckpoints {
  readonly #options: RunCheckpointsOptions;
  #last: string | undefined;
  /** The iteration of `#last`; where the run began when it has none yet. */
  #saved: number;
  /** From this iteration on a save is due, until one succeeds or is tried in vain. */
  #dueAt: number;
  #failed = false;

  constructor(options: RunCheckpointsOptions) {
    this.#options = options;
    this.#last = options.checkpoint;
    this.#saved = options.iteration;
    this.#dueAt = this.#periodAfter(options.iteration);
  }

  /** State file of the last good checkpoint. */
  get last(): string | undefined {
    return this.#last;
  }

  /** True when the last checkpoint holds all that was done. */
  isCurrent(iteration: number): boolean {
    return this.#last !== undefined && this.#saved >= iteration;
  }

  isDue(iteration: number): boolean {
    return iteration >= this.#dueAt;
  }

  /** Throws ERR_CAPI_CHECKPOINT_WRITE, naming the last good checkpoint. */
  async save(): Promise<void> {
    try {
      await this.#save();
    } catch (error) {
      if (!(error instanceof CheckpointWriteError)) throw error;
      throw new CapiError(error.code, `${error.message}; ${this.#lastInWords()}`, { cause: error });
    }
  }

  /** The same, but a refusal of the file system is told and recorded, and the save is due again before the next period. */
  async trySave(iteration: number): Promise<void> {
    try {
      await this.#save();
    } catch (error) {
      if (!(error instanceof CheckpointWriteError)) throw error;
      this.#failed = true;
      const retry = iteration + Math.ceil(this.#period / retries);
      this.#dueAt = Math.min(retry, this.#periodAfter(iteration));
      const { reason } = error;
      this.#options.onFailure({
        event: 'save_failed',
        iteration,
        reason,
        last_checkpoint: this.#last ?? null,
      });
      this.#options.onNote(
        `the save at iteration ${iteration} failed: ${reason}; ${this.#lastInWords()}; ` +
          `the run goes on and saves again at iteration ${this.#dueAt}`,
      );
    }
  }

  get #period(): number {
    return this.#options.config.train.checkpointing.period;
  }

  #periodAfter(iteration: number): number {
    return (Math.floor(iteration / this.#period) + 1) * this.#period;
  }

  async #save(): Promise<void> {
    const { config, snapshot, onNote } = this.#options;
    const { state, tensors } = await snapshot();
    const { path, notRemoved } = await saveCheckpoint(
      checkpointFolder(config.train.output_dir),
      state,
      tensors,
      {
        keep: config.train.checkpointing.max_to_keep,
      },
    );
    if (this.#failed) onNote(`saved again: ${path}`);
    if (notRemoved.length > 0) {
      onNote(`saved ${path}, but older files beside it could not be deleted: ${notRemoved.join('; ')}`);
    }
    this.#last = path;
    this.#saved = state.iteration;
    this.#dueAt = this.#periodAfter(state.iteration);
    this.#failed = false;
  }

  #lastInWords(): string {
    return this.#last === undefined
      ? 'there is no checkpoint yet'
      : `the last good checkpoint is ${this.#last}`;
  }
}
