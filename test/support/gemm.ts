/** float64 references for matrix products and the exact GELU. */

export interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: boolean | undefined;
  readonly transposeB?: boolean | undefined;
}

/** op(a) op(b), row-major. */
export function product(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { m, n, k, transposeA, transposeB }: ProductShape,
): Float64Array {
  const left = transposeA ? transposed(a, k, m) : Float64Array.from(a);
  const right = transposeB ? Float64Array.from(b) : transposed(b, k, n);
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += (left[i * k + p] as number) * (right[j * k + p] as number);
      c[i * n + j] = sum;
    }
  }
  return c;
}

function transposed(values: ArrayLike<number>, rows: number, cols: number): Float64Array {
  const result = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) result[j * rows + i] = values[i * cols + j] as number;
  }
  return result;
}

/** The normal distribution below z: Taylor's series near 0, a continued fraction in the tails. */
export function normalCdf(z: number): number {
  if (Number.isNaN(z)) return z;
  const a = Math.abs(z);
  let tail: number;
  if (a < 4) {
    let term = a;
    let sum = a;
    for (let i = 1; i < 80; i++) {
      term *= (a * a) / (2 * i + 1);
      sum += term;
    }
    tail = 0.5 - sum * normalPdf(a);
  } else {
    let fraction = a;
    for (let i = 60; i > 0; i--) fraction = a + i / fraction;
    tail = normalPdf(a) / fraction;
  }
  return z < 0 ? tail : 1 - tail;
}

export function normalPdf(z: number): number {
  return Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
}

export function gelu(z: number): number {
  return z * normalCdf(z);
}

export function geluSlope(z: number): number {
  return normalCdf(z) + z * normalPdf(z);
}
