/** What every module is built from: planned memory, weights and the numbers that all of them share. */
import type { Arena } from '../tensor/arena.js';
import type { ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ModelConfig } from './model_config.js';

/** One network's weights, as the modules read them. */
export interface Weights {
  /** In the compute dtype: operands of GEMMs and norms. */
  readonly values: ParameterSet;
  /** In f32; the same object as `values` when the compute dtype is f32. */
  readonly master: ParameterSet;
  /** In f32; absent in networks that are not trained. */
  readonly gradients?: ParameterSet | undefined;
  /** RoPE frequencies have a learning rate, so their gradient is computed. */
  readonly trainFrequencies?: boolean | undefined;
}

export interface Build {
  readonly config: ModelConfig;
  readonly arena: Arena;
  readonly weights: Weights;
  /** B: images in a batch. */
  readonly images: number;
  /** Images that each residual branch works on; `images` without stochastic depth. */
  readonly kept: number;
  /** The same in the predictor's stack. */
  readonly predictorKept: number;
}

/** Where drop-path draws its subsets: row j of `indices` [branches, kept] belongs to branch j of the stack. */
export interface DropPath {
  readonly indices: Tensor;
}

/** The gradient of one parameter, as a matrix of its shape. */
export function gradient(weights: Weights, name: string): Tensor {
  return gradients(weights).matrix(name);
}

export function gradients(weights: Weights): ParameterSet {
  if (!weights.gradients) throw new Error('a network that is not trained has no gradients');
  return weights.gradients;
}
