/** Results of a step, small, read when they are wanted. */
import type { Arena } from '../tensor/arena.js';
import type { Tensor } from '../tensor/tensor.js';

export interface StepResults {
  /** f64 [1, 1] */
  readonly capiLoss: Tensor;
  readonly clusteringLoss: Tensor;
  /** i32 [1, 1]: losses and gradients that are not finite; the step changed nothing when this is not 0 */
  readonly nonfinite: Tensor;
  /** f32 [1, 1] and [1, K]: mean entropy of the targets, mean mass of each prototype */
  readonly targetEntropy: Tensor;
  readonly mass: Tensor;
  /** f64 [1, 2]: variance of teacher features between positions, and in all */
  readonly collapse: Tensor;
}

export function stepResults(arena: Arena, numClusters: number): StepResults {
  return {
    capiLoss: arena.reserve([1, 1], 'f64'),
    clusteringLoss: arena.reserve([1, 1], 'f64'),
    nonfinite: arena.reserve([1, 1], 'i32'),
    targetEntropy: arena.reserve([1, 1], 'f32'),
    mass: arena.reserve([1, numClusters], 'f32'),
    collapse: arena.reserve([1, 2], 'f64'),
  };
}

/** What is read after every step. Names as in StepResults. */
export interface StepNumbers {
  readonly capiLoss: number;
  readonly clusteringLoss: number;
  readonly nonfinite: number;
  readonly targetEntropy: number;
  /** [K] */
  readonly mass: ArrayLike<number>;
}

/** Once the step is done. All are asked for before the first is waited for, so that the device waits for the host once. */
export async function readNumbers(results: StepResults): Promise<StepNumbers> {
  const number = async (x: Tensor) => (await x.readFloats())[0] as number;
  const [capiLoss, clusteringLoss, nonfinite, targetEntropy, mass] = await Promise.all([
    number(results.capiLoss),
    number(results.clusteringLoss),
    number(results.nonfinite),
    number(results.targetEntropy),
    results.mass.readFloats(),
  ]);
  return { capiLoss, clusteringLoss, nonfinite, targetEntropy, mass };
}
