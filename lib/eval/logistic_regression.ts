/**
 * Multinomial logistic regression with an L2 penalty, in float64, by L-BFGS: the probe that scores frozen
 * features. Objective, C, tolerance and the treatment of two classes are scikit-learn's
 * `LogisticRegression(solver="lbfgs")`: sum of log losses + |w|²/(2C), intercepts not penalised.
 */
import { invalidArgument } from '../native/errors.js';
import type { FeatureMatrix } from './features.js';
import { minimize } from './lbfgs.js';

export interface LogisticRegressionOptions {
  /** Inverse strength of the penalty. */
  readonly C: number;
  readonly maxIterations?: number; // 500
  /** Largest entry of the gradient of the mean loss at which to stop. */
  readonly tolerance?: number; // 1e-4
}

export interface LogisticRegression {
  readonly classes: readonly number[]; // ascending labels
  readonly cols: number;
  /** One output a class, or a single one (of the second class) where there are two. */
  readonly weights: Float64Array; // [outputs, cols]
  readonly intercepts: Float64Array; // [outputs]
  readonly loss: number; // mean log loss + penalty / rows
  readonly iterations: number;
  readonly converged: boolean;
}

/** Throws ERR_CAPI_INVALID_ARGUMENT on fewer than two classes, or C or shapes that make no sense. */
export function fitLogisticRegression(
  features: FeatureMatrix,
  labels: ArrayLike<number>,
  options: LogisticRegressionOptions,
): LogisticRegression {
  const { rows, cols } = features;
  const { C, maxIterations = 500, tolerance = 1e-4 } = options;
  if (!(C > 0)) throw invalidArgument('C', 'a number > 0', C);
  if (labels.length !== rows) throw invalidArgument('labels', `${rows} labels, one a row`, labels.length);
  const classes = [...new Set(Array.from(labels))].sort((a, b) => a - b);
  if (classes.length < 2) throw invalidArgument('labels', 'at least two classes', classes.length);
  const rank = new Map(classes.map((label, index) => [label, index]));
  const target = Int32Array.from(labels, (label) => rank.get(label) ?? 0);

  const outputs = classes.length === 2 ? 1 : classes.length;
  const objective = new MeanLogLoss(Float64Array.from(features.data), target, cols, outputs, 1 / (C * rows));
  const found = minimize((w, gradient) => objective.at(w, gradient), new Float64Array(outputs * (cols + 1)), {
    maxIterations,
    tolerance,
  });
  return {
    classes,
    cols,
    weights: found.x.slice(0, outputs * cols),
    intercepts: found.x.slice(outputs * cols),
    loss: found.value,
    iterations: found.iterations,
    converged: found.converged,
  };
}

/** The label with the largest output, for each row. */
export function predictLabels(model: LogisticRegression, { data, rows, cols }: FeatureMatrix): Int32Array {
  if (cols !== model.cols) throw invalidArgument('features', `${model.cols} columns`, cols);
  const outputs = model.intercepts.length;
  const predicted = new Int32Array(rows);
  for (let i = 0; i < rows; i++) {
    // With two classes the first one's output is the constant 0.
    let best = outputs === 1 ? 0 : Number.NEGATIVE_INFINITY;
    let bestClass = 0;
    for (let k = 0; k < outputs; k++) {
      let sum = model.intercepts[k] as number;
      for (let j = 0; j < cols; j++) {
        sum += (data[i * cols + j] as number) * (model.weights[k * cols + j] as number);
      }
      if (sum > best) {
        best = sum;
        bestClass = outputs === 1 ? 1 : k;
      }
    }
    predicted[i] = model.classes[bestClass] as number;
  }
  return predicted;
}

/**
 * Mean log loss + decay/2 · |w|² and its gradient. The inner loops take four outputs at a time: one read of a
 * feature serves four sums, which is what a scalar loop in JavaScript needs to be quick.
 */
class MeanLogLoss {
  readonly #x: Float64Array; // [rows, cols]
  readonly #target: Int32Array; // [rows], indices of classes
  readonly #cols: number;
  readonly #outputs: number;
  readonly #padded: number;
  readonly #decay: number;
  readonly #weights: Float64Array; // [cols + 1, padded], intercepts last
  readonly #gradient: Float64Array; // [cols + 1, padded]
  readonly #logits: Float64Array; // [padded]; the padding stays 0, as its weights do

  constructor(x: Float64Array, target: Int32Array, cols: number, outputs: number, decay: number) {
    this.#x = x;
    this.#target = target;
    this.#cols = cols;
    this.#outputs = outputs;
    this.#padded = Math.ceil(outputs / 4) * 4;
    this.#decay = decay;
    this.#weights = new Float64Array((cols + 1) * this.#padded);
    this.#gradient = new Float64Array((cols + 1) * this.#padded);
    this.#logits = new Float64Array(this.#padded);
  }

  /** `w` and `gradient` are [outputs, cols] followed by [outputs] intercepts. */
  at(w: Float64Array, gradient: Float64Array): number {
    const cols = this.#cols;
    const outputs = this.#outputs;
    const padded = this.#padded;
    for (let k = 0; k < outputs; k++) {
      for (let j = 0; j < cols; j++) this.#weights[j * padded + k] = w[k * cols + j] as number;
      this.#weights[cols * padded + k] = w[outputs * cols + k] as number;
    }
    this.#gradient.fill(0);
    const rows = this.#target.length;
    let loss = 0;
    for (let i = 0; i < rows; i++) {
      this.#outputsOfRow(i);
      loss += this.#softmaxMinusTarget(this.#target[i] as number);
      this.#accumulateGradient(i);
    }
    let squares = 0;
    for (let k = 0; k < outputs; k++) {
      for (let j = 0; j < cols; j++) {
        const weight = w[k * cols + j] as number;
        squares += weight * weight;
        gradient[k * cols + j] = (this.#gradient[j * padded + k] as number) / rows + this.#decay * weight;
      }
      gradient[outputs * cols + k] = (this.#gradient[cols * padded + k] as number) / rows;
    }
    return loss / rows + 0.5 * this.#decay * squares;
  }

  #outputsOfRow(row: number): void {
    const x = this.#x;
    const weights = this.#weights;
    const cols = this.#cols;
    const padded = this.#padded;
    const base = row * cols;
    for (let k = 0; k < padded; k += 4) {
      let at = cols * padded + k;
      let a = weights[at] as number;
      let b = weights[at + 1] as number;
      let c = weights[at + 2] as number;
      let d = weights[at + 3] as number;
      at = k;
      for (let j = 0; j < cols; j++, at += padded) {
        const value = x[base + j] as number;
        a += value * (weights[at] as number);
        b += value * (weights[at + 1] as number);
        c += value * (weights[at + 2] as number);
        d += value * (weights[at + 3] as number);
      }
      this.#logits[k] = a;
      this.#logits[k + 1] = b;
      this.#logits[k + 2] = c;
      this.#logits[k + 3] = d;
    }
  }

  /** Turns the logits into the gradient by them and returns the row's log loss. */
  #softmaxMinusTarget(target: number): number {
    const logits = this.#logits;
    const outputs = this.#outputs;
    if (outputs === 1) {
      const z = logits[0] as number;
      const signed = target === 1 ? z : -z;
      logits[0] = 1 / (1 + Math.exp(-z)) - target;
      return signed > 0 ? Math.log1p(Math.exp(-signed)) : Math.log1p(Math.exp(signed)) - signed;
    }
    let largest = Number.NEGATIVE_INFINITY;
    for (let k = 0; k < outputs; k++) largest = Math.max(largest, logits[k] as number);
    const chosen = (logits[target] as number) - largest;
    let sum = 0;
    for (let k = 0; k < outputs; k++) {
      const e = Math.exp((logits[k] as number) - largest);
      logits[k] = e;
      sum += e;
    }
    for (let k = 0; k < outputs; k++) logits[k] = (logits[k] as number) / sum;
    logits[target] = (logits[target] as number) - 1;
    return Math.log(sum) - chosen;
  }

  #accumulateGradient(row: number): void {
    const x = this.#x;
    const gradient = this.#gradient;
    const cols = this.#cols;
    const padded = this.#padded;
    const base = row * cols;
    for (let k = 0; k < this.#outputs; k += 4) {
      const a = this.#logits[k] as number;
      const b = this.#logits[k + 1] as number;
      const c = this.#logits[k + 2] as number;
      const d = this.#logits[k + 3] as number;
      let at = k;
      for (let j = 0; j <= cols; j++, at += padded) {
        const value = j < cols ? (x[base + j] as number) : 1;
        gradient[at] = (gradient[at] as number) + value * a;
        gradient[at + 1] = (gradient[at + 1] as number) + value * b;
        gradient[at + 2] = (gradient[at + 2] as number) + value * c;
        gradient[at + 3] = (gradient[at + 3] as number) + value * d;
      }
    }
  }
}
