/** Norms in float64, row by row, with their gradients. */

type Values = ArrayLike<number>;
const at = (values: Values, i: number) => values[i] as number;

function rowDot(a: Values, b: Values, row: number, dim: number): number {
  let total = 0;
  for (let i = row * dim; i < (row + 1) * dim; i++) total += at(a, i) * at(b, i);
  return total;
}

export function rmsNorm(x: Values, weight: Values | undefined, dim: number, eps: number) {
  const rows = x.length / dim;
  const y = new Float64Array(x.length);
  const rstd = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    rstd[row] = 1 / Math.sqrt(rowDot(x, x, row, dim) / dim + eps);
    for (let i = 0; i < dim; i++)
      y[row * dim + i] = at(x, row * dim + i) * at(rstd, row) * (weight ? at(weight, i) : 1);
  }
  return { y, rstd };
}

export function rmsNormGradients(
  x: Values,
  weight: Values | undefined,
  gradY: Values,
  dim: number,
  eps: number,
) {
  const { rstd } = rmsNorm(x, weight, dim, eps);
  const weighted = Float64Array.from(gradY, (value, i) => value * (weight ? at(weight, i % dim) : 1));
  const gradX = new Float64Array(x.length);
  const gradWeight = new Float64Array(dim);
  for (let row = 0; row < rstd.length; row++) {
    const r = at(rstd, row);
    const mean = (rowDot(weighted, x, row, dim) * r) / dim;
    for (let i = 0; i < dim; i++) {
      const k = row * dim + i;
      gradX[k] = r * (at(weighted, k) - at(x, k) * r * mean);
      gradWeight[i] = at(gradWeight, i) + at(gradY, k) * at(x, k) * r;
    }
  }
  return { gradX, gradWeight };
}

export function l2Normalize(x: Values, dim: number, eps: number): Float64Array {
  return Float64Array.from(x, (value, i) => {
    const row = Math.floor(i / dim);
    return value / Math.max(Math.sqrt(rowDot(x, x, row, dim)), eps);
  });
}

export function l2NormalizeGradient(x: Values, gradY: Values, dim: number, eps: number): Float64Array {
  return Float64Array.from(gradY, (value, i) => {
    const row = Math.floor(i / dim);
    const norm = Math.sqrt(rowDot(x, x, row, dim));
    if (norm < eps) return value / eps;
    return (value - (at(x, i) * rowDot(gradY, x, row, dim)) / (norm * norm)) / norm;
  });
}

export function weightNorm(v: Values, g: Values, dim: number, eps: number): Float64Array {
  return Float64Array.from(v, (value, i) => {
    const row = Math.floor(i / dim);
    return (value * at(g, row)) / (Math.sqrt(rowDot(v, v, row, dim)) + eps);
  });
}

export function weightNormGradients(v: Values, g: Values, gradWeight: Values, dim: number, eps: number) {
  const gradG = Float64Array.from(g, (_, row) => {
    return rowDot(gradWeight, v, row, dim) / (Math.sqrt(rowDot(v, v, row, dim)) + eps);
  });
  const gradV = Float64Array.from(v, (value, i) => {
    const row = Math.floor(i / dim);
    const norm = Math.sqrt(rowDot(v, v, row, dim));
    const scale = at(g, row) / (norm + eps);
    return scale * (at(gradWeight, i) - (norm === 0 ? 0 : (value * at(gradG, row)) / norm));
  });
  return { gradV, gradG };
}
