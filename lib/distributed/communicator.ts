/**
 * What ranks say to each other. A step calls it where data-parallel training needs it; with one rank, every call is
 * the identity.
 */
import type { Tensor } from '../tensor/tensor.js';

export interface Communicator {
  readonly rank: number;
  readonly worldSize: number;
  /** Enqueues: `x` becomes its mean over the ranks. */
  allReduceMean(x: Tensor): void;
}

/** The only rank. */
export const localCommunicator: Communicator = {
  rank: 0,
  worldSize: 1,
  allReduceMean() {},
};
