/** What the loader and its workers say to each other. Pixels travel in shared memory, never in messages. */
import type { CapiErrorCode } from '../native/errors.js';
import type { BadImage, BatchArrays, CropOptions, CropRange } from './crop_samples.js';
import type { SourceDescriptor } from './image_source.js';

export interface WorkerSetup {
  readonly source: SourceDescriptor;
  readonly options: CropOptions;
  /** The ring of batches. */
  readonly slots: readonly BatchArrays[];
  /** [1]: nonzero once the loader is closing. */
  readonly stop: Int32Array;
}

export interface CropTask extends CropRange {
  /** Number of the batch since the start, and the slot of the ring that it goes to. */
  readonly batch: number;
  readonly slot: number;
}

export type WorkerReply =
  | { readonly batch: number; readonly begin: number; readonly bad: readonly BadImage[] }
  | { readonly failed: { readonly code: CapiErrorCode; readonly message: string } };
