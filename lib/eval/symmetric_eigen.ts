/** The largest eigenvalues of a symmetric matrix: block power iteration, solved inside by Jacobi rotations. */

export interface Eigenpairs {
  readonly values: Float64Array; // [count], descending
  readonly vectors: Float64Array; // [count, n], orthonormal rows
}

const EXTRA_VECTORS = 8; // the wanted ones converge as the ratio to the eigenvalue after these
const MAX_ITERATIONS = 400;
const TOLERANCE = 1e-10; // of the residual |Av - λv| against the largest eigenvalue

/** `matrix` is [n, n]; the start is fixed, so the same matrix always gives the same answer. */
export function largestEigenpairs(matrix: Float64Array, n: number, count: number): Eigenpairs {
  const block = Math.min(n, count + EXTRA_VECTORS);
  let basis = fixedStart(block, n);
  orthonormalize(basis, block, n);
  let values: Float64Array = new Float64Array(block);
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const image = multiplyRows(basis, matrix, block, n); // rows A·b, as A is symmetric
    const small = new Float64Array(block * block);
    for (let i = 0; i < block; i++) {
      for (let j = 0; j < block; j++) small[i * block + j] = dotRows(basis, i, image, j, n);
    }
    const ritz = jacobiEigen(small, block);
    values = ritz.values;
    const rotated = multiplyRows(ritz.vectors, image, block, n, block); // A times the Ritz vectors
    basis = multiplyRows(ritz.vectors, basis, block, n, block);
    if (residual(basis, rotated, values, count, n) <= TOLERANCE * Math.abs(values[0] as number)) break;
    basis = rotated;
    orthonormalize(basis, block, n);
  }
  return { values: values.slice(0, count), vectors: basis.slice(0, count * n) };
}

/** All eigenpairs of a small symmetric matrix by cyclic Jacobi rotations, descending. */
export function jacobiEigen(symmetric: Float64Array, n: number): Eigenpairs {
  const a = symmetric.slice();
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  const get = (m: Float64Array, i: number, j: number): number => m[i * n + j] as number;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    let diagonal = 0;
    for (let i = 0; i < n; i++) {
      diagonal += get(a, i, i) ** 2;
      for (let j = 0; j < i; j++) off += get(a, i, j) ** 2;
    }
    if (off <= 1e-30 * diagonal) break;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = get(a, p, q);
        if (apq === 0) continue;
        const theta = (get(a, q, q) - get(a, p, p)) / (2 * apq);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        for (let i = 0; i < n; i++) {
          const ip = get(a, i, p);
          const iq = get(a, i, q);
          a[i * n + p] = c * ip - s * iq;
          a[i * n + q] = s * ip + c * iq;
        }
        for (let i = 0; i < n; i++) {
          const pi = get(a, p, i);
          const qi = get(a, q, i);
          a[p * n + i] = c * pi - s * qi;
          a[q * n + i] = s * pi + c * qi;
          const vp = get(v, p, i);
          const vq = get(v, q, i);
          v[p * n + i] = c * vp - s * vq;
          v[q * n + i] = s * vp + c * vq;
        }
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => get(a, j, j) - get(a, i, i));
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => {
    vectors.set(v.subarray(from * n, (from + 1) * n), to * n);
  });
  return { values: Float64Array.from(order, (i) => get(a, i, i)), vectors };
}

/** Rows of `left` [rows, inner] times `right` [inner, n]. */
function multiplyRows(
  left: Float64Array,
  right: Float64Array,
  rows: number,
  n: number,
  inner = n,
): Float64Array {
  const out = new Float64Array(rows * n);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < inner; k++) {
      const scale = left[i * inner + k] as number;
      if (scale === 0) continue;
      for (let j = 0; j < n; j++) {
        out[i * n + j] = (out[i * n + j] as number) + scale * (right[k * n + j] as number);
      }
    }
  }
  return out;
}

function dotRows(a: Float64Array, i: number, b: Float64Array, j: number, n: number): number {
  let sum = 0;
  for (let k = 0; k < n; k++) sum += (a[i * n + k] as number) * (b[j * n + k] as number);
  return sum;
}

function residual(
  basis: Float64Array,
  image: Float64Array,
  values: Float64Array,
  count: number,
  n: number,
): number {
  let worst = 0;
  for (let i = 0; i < count; i++) {
    let squares = 0;
    for (let j = 0; j < n; j++) {
      squares += ((image[i * n + j] as number) - (values[i] as number) * (basis[i * n + j] as number)) ** 2;
    }
    worst = Math.max(worst, Math.sqrt(squares));
  }
  return worst;
}

/** Gram-Schmidt, twice over for accuracy. A row that vanishes is replaced by a unit vector and done again. */
function orthonormalize(rows: Float64Array, count: number, n: number): void {
  for (let i = 0; i < count; i++) {
    const own = rows.subarray(i * n, (i + 1) * n);
    for (let attempt = 0; attempt <= n; attempt++) {
      const before = Math.sqrt(dotRows(rows, i, rows, i, n));
      for (let pass = 0; pass < 2; pass++) {
        for (let j = 0; j < i; j++) {
          const share = dotRows(rows, i, rows, j, n);
          for (let k = 0; k < n; k++) own[k] = (own[k] as number) - share * (rows[j * n + k] as number);
        }
      }
      const length = Math.sqrt(dotRows(rows, i, rows, i, n));
      if (length > 1e-10 * before && length > 1e-280) {
        for (let k = 0; k < n; k++) own[k] = (own[k] as number) / length;
        break;
      }
      own.fill(0);
      own[(i + attempt) % n] = 1;
    }
  }
}

/** Numbers without a pattern that a matrix could share: multiples of the golden ratio, mod 1. */
function fixedStart(rows: number, n: number): Float64Array {
  return Float64Array.from(
    { length: rows * n },
    (_, i) => (((i + 1) * 0.618033988749895 * (1 + i / n)) % 1) - 0.5,
  );
}
