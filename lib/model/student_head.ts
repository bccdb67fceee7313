/**
 * The student's head: L2-normalise, then a weight-normalised linear layer without bias. METHOD section 6.
 * With the `mlp_head` ablation an MLP stands before it.
 */
import { ops } from '../tensor/ops.js';
import { type ParameterLayout, xavier } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Build, gradient, gradients } from './build.js';
import { mlpRatio } from './model_config.js';

export const headNames = {
  weightG: 'head.last_layer.weight_g',
  weightV: 'head.last_layer.weight_v',
  fc1: 'head.mlp.fc1.weight',
  fc2: 'head.mlp.fc2.weight',
};

const inputEps = 1e-12;
/** Of the weight norm. */
export const weightEps = 1e-8;

export interface HeadConfig {
  /** K */
  readonly numClusters: number;
  readonly kind: 'linear' | 'mlp';
}

export function addStudentHead(layout: ParameterLayout, width: number, head: HeadConfig): void {
  layout.add(headNames.weightG, [head.numClusters, 1], { kind: 'constant', value: 1 });
  // Published: truncated at ±2, a hundred standard deviations away.
  layout.add(headNames.weightV, [head.numClusters, width], { kind: 'normal', std: 0.02 });
  if (head.kind === 'mlp') {
    const hidden = mlpRatio * width;
    layout.add(headNames.fc1, [hidden, width], xavier(hidden, width));
    layout.add(headNames.fc2, [width, hidden], xavier(width, hidden));
  }
}

export class StudentHead {
  /** [rows, K]; the loss writes its gradient over it */
  readonly logits: Tensor;
  readonly #build: Build;
  readonly #head: HeadConfig;
  /** [rows, D] */
  readonly #normalized: Tensor;
  /** f32 [1, rows] */
  readonly #invNorm: Tensor;
  /** [K, D] in the compute dtype */
  readonly #weight: Tensor;
  /** f32 [K, D]; absent without training */
  readonly #gradWeight: Tensor | undefined;
  /** MLP head: [rows, 4D], [rows, 4D] and [rows, D] */
  readonly #mlp: { readonly pre: Tensor; readonly hidden: Tensor; readonly out: Tensor } | undefined;

  /** @param rows predictions in a batch */
  constructor(build: Build, head: HeadConfig, rows: number) {
    const { arena, config, weights } = build;
    const { width, dtype } = config;
    this.#build = build;
    this.#head = head;
    this.#normalized = arena.reserve([rows, width], dtype);
    this.#invNorm = arena.reserve([1, rows], 'f32');
    this.#weight = arena.reserve([head.numClusters, width], dtype);
    this.#gradWeight = weights.gradients ? arena.reserve([head.numClusters, width], 'f32') : undefined;
    this.logits = arena.reserve([rows, head.numClusters], dtype);
    const wide = () => arena.reserve([rows, mlpRatio * width], dtype);
    this.#mlp =
      head.kind === 'mlp'
        ? { pre: wide(), hidden: wide(), out: arena.reserve([rows, width], dtype) }
        : undefined;
  }

  /** `predictions` [rows, D] to `logits`. */
  forward(predictions: Tensor): void {
    const { master, values } = this.#build.weights;
    let x = predictions;
    if (this.#mlp) {
      const { pre, hidden, out } = this.#mlp;
      ops.gemm({ a: x, b: values.matrix(headNames.fc1), transposeB: true, c: hidden, gelu: 'forward', pre });
      ops.gemm({ a: hidden, b: values.matrix(headNames.fc2), transposeB: true, c: out });
      x = out;
    }
    ops.l2NormalizeForward({ x, y: this.#normalized, invNorm: this.#invNorm, eps: inputEps });
    ops.weightNormForward({
      v: master.matrix(headNames.weightV),
      g: this.#gain(master),
      weight: this.#weight,
      eps: weightEps,
    });
    ops.gemm({ a: this.#normalized, b: this.#weight, transposeB: true, c: this.logits });
  }

  /** From the gradient that lies in `logits`: fills the head's gradients and `gradPredictions` [rows, D]. */
  backward(predictions: Tensor, gradPredictions: Tensor): void {
    const { weights } = this.#build;
    const gradLogits = this.logits;
    const gradWeight = this.#gradWeight as Tensor;
    ops.gemm({ a: gradLogits, b: this.#normalized, transposeA: true, c: gradWeight });
    ops.weightNormBackward({
      v: weights.master.matrix(headNames.weightV),
      g: this.#gain(weights.master),
      gradWeight,
      gradV: gradient(weights, headNames.weightV),
      gradG: this.#gain(gradients(weights)),
      eps: weightEps,
    });
    const gradNormalized = gradPredictions;
    ops.gemm({ a: gradLogits, b: this.#weight, c: gradNormalized });
    const gradX = this.#mlp?.out ?? gradPredictions;
    ops.l2NormalizeBackward({
      y: this.#normalized,
      invNorm: this.#invNorm,
      gradY: gradNormalized,
      gradX,
    });
    if (!this.#mlp) return;
    const { pre, hidden } = this.#mlp;
    const gradHidden = hidden;
    ops.gemm({ a: gradX, b: weights.values.matrix(headNames.fc2), c: gradHidden, gelu: 'backward', pre });
    ops.gemm({ a: gradX, b: pre, transposeA: true, c: gradient(weights, headNames.fc2) });
    ops.gemm({ a: gradHidden, b: predictions, transposeA: true, c: gradient(weights, headNames.fc1) });
    ops.gemm({ a: gradHidden, b: weights.values.matrix(headNames.fc1), c: gradPredictions });
  }

  /** weight_g [K, 1] */
  #gain(set: Build['weights']['values']): Tensor {
    return set.matrix(headNames.weightG).view([this.#head.numClusters, 1]);
  }
}
