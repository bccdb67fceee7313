/** k nearest neighbours by cosine similarity with a plain majority vote: a probe without anything to train. */
import { invalidArgument } from '../native/errors.js';
import type { FeatureMatrix } from './features.js';

const TEST_ROWS_AT_ONCE = 4;

/**
 * The label most frequent among the k nearest training rows, for each test row; ties go to the smallest label
 * (as in scikit-learn). Throws ERR_CAPI_INVALID_ARGUMENT when shapes or k do not fit.
 */
export function predictByNeighbours(
  train: FeatureMatrix,
  labels: ArrayLike<number>,
  test: FeatureMatrix,
  k = 10,
): Int32Array {
  if (labels.length !== train.rows) throw invalidArgument('labels', `${train.rows} labels`, labels.length);
  if (test.cols !== train.cols) throw invalidArgument('test', `${train.cols} columns`, test.cols);
  if (!Number.isInteger(k) || k < 1 || k > train.rows) {
    throw invalidArgument('k', `an integer in [1, ${train.rows}]`, k);
  }
  const known = unitRows(train);
  const asked = unitRows(test); // padded to whole groups
  const predicted = new Int32Array(test.rows);
  const similarity = Array.from({ length: TEST_ROWS_AT_ONCE }, () => new Float64Array(train.rows));
  for (let i = 0; i < test.rows; i += TEST_ROWS_AT_ONCE) {
    similarities(known, asked, train.rows, train.cols, i, similarity);
    for (let r = 0; r < Math.min(TEST_ROWS_AT_ONCE, test.rows - i); r++) {
      predicted[i + r] = vote(nearest(similarity[r] as Float64Array, k), labels);
    }
  }
  return predicted;
}

function unitRows({ data, rows, cols }: FeatureMatrix): Float64Array {
  const unit = new Float64Array(Math.ceil(rows / TEST_ROWS_AT_ONCE) * TEST_ROWS_AT_ONCE * cols);
  for (let i = 0; i < rows; i++) {
    let squares = 0;
    for (let at = i * cols; at < (i + 1) * cols; at++) squares += (data[at] as number) ** 2;
    const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    for (let at = i * cols; at < (i + 1) * cols; at++) unit[at] = (data[at] as number) * scale;
  }
  return unit;
}

/** Four test rows share each read of a training row. */
function similarities(
  known: Float64Array,
  asked: Float64Array,
  rows: number,
  cols: number,
  first: number,
  out: readonly Float64Array[],
): void {
  const [outA, outB, outC, outD] = out as [Float64Array, Float64Array, Float64Array, Float64Array];
  const at = first * cols;
  for (let i = 0; i < rows; i++) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let j = 0; j < cols; j++) {
      const value = known[i * cols + j] as number;
      a += value * (asked[at + j] as number);
      b += value * (asked[at + cols + j] as number);
      c += value * (asked[at + 2 * cols + j] as number);
      d += value * (asked[at + 3 * cols + j] as number);
    }
    outA[i] = a;
    outB[i] = b;
    outC[i] = c;
    outD[i] = d;
  }
}

/** Indices of the k largest values; of equal ones the first come first. */
function nearest(values: Float64Array, k: number): number[] {
  const found: number[] = [];
  let bar = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (found.length === k && !(value > bar)) continue;
    if (found.length === k) found.pop();
    let place = found.length;
    while (place > 0 && (values[found[place - 1] as number] as number) < value) place--;
    found.splice(place, 0, i);
    bar = values[found[found.length - 1] as number] as number;
  }
  return found;
}

function vote(neighbours: readonly number[], labels: ArrayLike<number>): number {
  const counts = new Map<number, number>();
  for (const i of neighbours) counts.set(labels[i] as number, (counts.get(labels[i] as number) ?? 0) + 1);
  return [...counts].reduce((best, next) =>
    next[1] > best[1] || (next[1] === best[1] && next[0] < best[0]) ? next : best,
  )[0];
}
