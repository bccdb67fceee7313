/** Which image every sample of a run is. Samples are numbered through the whole run, over all ranks. */
import { ops } from '../tensor/ops.js';

export interface SamplerOptions {
  readonly seed: number;
  /** Images of the dataset. */
  readonly length: number;
}

export interface Position {
  /** How often the whole dataset went by before. */
  readonly epoch: number;
  /** Place in the shuffled order of that epoch, in [0, length). */
  readonly place: number;
}

export function positionOf(sample: number, length: number): Position {
  return { epoch: Math.floor(sample / length), place: sample % length };
}

/** The image at a place of an epoch's order; places wrap around. */
export function imageAt({ epoch, place }: Position, { seed, length }: SamplerOptions): number {
  return ops.permuteIndex({ seed, epoch, index: place % length, count: length });
}

/** The first sample of a rank's batch. */
export function firstSample(iteration: number, rank: number, worldSize: number, batchSize: number): number {
  return (iteration * worldSize + rank) * batchSize;
}
