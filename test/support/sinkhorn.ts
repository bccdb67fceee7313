/** Float64 references for Sinkhorn-Knopp, soft cross-entropy and the health numbers, straight from METHOD.md. */

export interface Problem {
  /** [groups · n, K], a group's rows together. */
  readonly logits: ArrayLike<number>;
  readonly groups: number;
  readonly rows: number;
  readonly columns: number;
  readonly iterations: number;
  readonly targetTemp: number;
}

/** Assignments [groups · rows, columns]. */
export function sinkhornReference(problem: Problem): Float64Array {
  const { logits, groups, rows, columns, iterations, targetTemp } = problem;
  const result = new Float64Array(groups * rows * columns);
  for (let group = 0; group < groups; group++) {
    const at = (row: number, column: number) => (group * rows + row) * columns + column;
    for (let k = 0; k < columns; k++) {
      let most = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < rows; i++) most = Math.max(most, logits[at(i, k)] as number);
      for (let i = 0; i < rows; i++) {
        result[at(i, k)] = Math.exp(((logits[at(i, k)] as number) - most) / targetTemp + 50);
      }
    }
    const divide = (outer: number, inner: number, index: (o: number, i: number) => number) => {
      for (let o = 0; o < outer; o++) {
        let sum = 1e-8;
        for (let i = 0; i < inner; i++) sum += result[index(o, i)] as number;
        for (let i = 0; i < inner; i++) (result[index(o, i)] as number) /= sum;
      }
    };
    for (let iteration = 0; iteration < iterations; iteration++) {
      divide(columns, rows, (k, i) => at(i, k));
      divide(rows, columns, at);
    }
  }
  return result;
}

export interface LossAndGradient {
  readonly loss: number;
  readonly gradient: Float64Array;
}

/** Mean over rows of −Σ targets · log softmax(logits / temperature), and its gradient for the logits. */
export function softCrossEntropyReference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  columns: number,
  temperature: number,
): LossAndGradient {
  const rows = logits.length / columns;
  const gradient = new Float64Array(logits.length);
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    const start = row * columns;
    let most = Number.NEGATIVE_INFINITY;
    for (let k = 0; k < columns; k++) most = Math.max(most, (logits[start + k] as number) / temperature);
    let total = 0;
    let mass = 0;
    for (let k = 0; k < columns; k++) {
      total += Math.exp((logits[start + k] as number) / temperature - most);
      mass += targets[start + k] as number;
    }
    for (let k = 0; k < columns; k++) {
      const z = (logits[start + k] as number) / temperature - most;
      const a = targets[start + k] as number;
      if (a !== 0) loss -= (a * (z - Math.log(total))) / rows;
      gradient[start + k] = ((Math.exp(z) / total) * mass - a) / (temperature * rows);
    }
  }
  return { loss, gradient };
}

export function columnSums(values: ArrayLike<number>, columns: number): Float64Array {
  const sums = new Float64Array(columns);
  for (let i = 0; i < values.length; i++) (sums[i % columns] as number) += values[i] as number;
  return sums;
}
