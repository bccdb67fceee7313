/**
 * Attention with rope and its gradients by plain loops in float64. With `round`, every intermediate matrix is
 * rounded as a naive implementation that stores them would: the yardstick for bf16.
 */
import type { RopeKind } from '../../lib/tensor/ops_attention.js';

export interface AttentionProblem {
  readonly images: number;
  readonly heads: number;
  readonly d: number;
  readonly nQ: number;
  readonly nK: number;
  readonly rope: RopeKind;
  readonly q: Float32Array; // [images * nQ, heads * d]
  readonly k: Float32Array; // [contexts * nK, heads * d]
  readonly v: Float32Array;
  readonly gradOut: Float32Array;
  readonly qCoordinates: Float32Array; // [all images * nQ, 2]
  readonly kCoordinates: Float32Array;
  readonly frequencies: Float32Array; // [2, d]
  readonly imageIndices?: readonly number[];
  readonly contextIndices?: readonly number[];
}

export interface AttentionResult {
  readonly out: Float64Array;
  readonly lse: Float64Array; // [images * heads, nQ]
  readonly gradQ: Float64Array;
  readonly gradK: Float64Array;
  readonly gradV: Float64Array;
  readonly gradFrequencies: Float64Array;
}

type Round = (value: number) => number;

interface Rotated {
  readonly rows: Float64Array; // [n, d]
  readonly cosine: Float64Array;
  readonly sine: Float64Array;
}

/** Channel pairs (i, j) that rope turns together. */
function partners(rope: RopeKind, d: number): [number, number][] {
  const distance = rope === 'axial' ? d / 4 : d / 2;
  const first = Array.from({ length: d }, (_, i) => i).filter((i) => i % (2 * distance) < distance);
  return first.map((i) => [i, i + distance]);
}

function rotate(
  p: AttentionProblem,
  x: Float32Array,
  firstRow: number,
  head: number,
  n: number,
  coordinates: Float32Array,
  firstCoordinate: number,
  round: Round,
): Rotated {
  const { d, heads } = p;
  const rows = new Float64Array(n * d);
  const cosine = new Float64Array(n * d).fill(1);
  const sine = new Float64Array(n * d);
  const at = (t: number, i: number) => x[((firstRow + t) * heads + head) * d + i] as number;
  for (let t = 0; t < n; t++) {
    for (let i = 0; i < d; i++) rows[t * d + i] = at(t, i);
    if (p.rope === 'none') continue;
    for (let i = 0; i < d; i++) {
      const angle =
        coordinates[(firstCoordinate + t) * 2]! * p.frequencies[i]! +
        coordinates[(firstCoordinate + t) * 2 + 1]! * p.frequencies[d + i]!;
      cosine[t * d + i] = Math.cos(angle);
      sine[t * d + i] = Math.sin(angle);
    }
    for (const [i, j] of partners(p.rope, d)) {
      const [ci, cj, si, sj] = [cosine[t * d + i]!, cosine[t * d + j]!, sine[t * d + i]!, sine[t * d + j]!];
      rows[t * d + i] = round(at(t, i) * ci - at(t, j) * si);
      rows[t * d + j] = round(at(t, j) * cj + at(t, i) * sj);
    }
  }
  return { rows, cosine, sine };
}

/** Carries the gradient of rotated rows back to rows and frequencies. */
function rotateBack(
  p: AttentionProblem,
  x: Float32Array,
  grad: Float64Array,
  gradFrequencies: Float64Array,
  rotated: Rotated,
  gradRotated: Float64Array,
  firstRow: number,
  head: number,
  n: number,
  coordinates: Float32Array,
  firstCoordinate: number,
): void {
  const { d, heads } = p;
  for (let t = 0; t < n; t++) {
    const base = ((firstRow + t) * heads + head) * d;
    if (p.rope === 'none') {
      for (let i = 0; i < d; i++) grad[base + i] = gradRotated[t * d + i]!;
      continue;
    }
    for (const [i, j] of partners(p.rope, d)) {
      const [gi, gj] = [gradRotated[t * d + i]!, gradRotated[t * d + j]!];
      const [ci, cj] = [rotated.cosine[t * d + i]!, rotated.cosine[t * d + j]!];
      const [si, sj] = [rotated.sine[t * d + i]!, rotated.sine[t * d + j]!];
      const [a, b] = [x[base + i]!, x[base + j]!];
      grad[base + i] = gi * ci + gj * sj;
      grad[base + j] = gj * cj - gi * si;
      for (const axis of [0, 1]) {
        const position = coordinates[(firstCoordinate + t) * 2 + axis]!;
        gradFrequencies[axis * d + i]! += position * gi * (-a * si - b * ci);
        gradFrequencies[axis * d + j]! += position * gj * (a * cj - b * sj);
      }
    }
  }
}

export function attentionReference(p: AttentionProblem, round: Round = (value) => value): AttentionResult {
  const { heads, d, nQ, nK } = p;
  const result: AttentionResult = {
    out: new Float64Array(p.q.length),
    lse: new Float64Array(p.images * heads * nQ),
    gradQ: new Float64Array(p.q.length),
    gradK: new Float64Array(p.k.length),
    gradV: new Float64Array(p.v.length),
    gradFrequencies: new Float64Array(2 * d),
  };
  const scale = 1 / Math.sqrt(d);
  for (let image = 0; image < p.images; image++) {
    const source = p.imageIndices?.[image] ?? image;
    const context = p.contextIndices?.[image] ?? image;
    for (let head = 0; head < heads; head++) {
      const q = rotate(p, p.q, image * nQ, head, nQ, p.qCoordinates, source * nQ, round);
      const k = rotate(p, p.k, context * nK, head, nK, p.kCoordinates, source * nK, round);
      const gradQ = new Float64Array(nQ * d);
      const gradK = new Float64Array(nK * d);
      const v = (j: number) => ((context * nK + j) * heads + head) * d;
      for (let t = 0; t < nQ; t++) {
        const row = ((image * nQ + t) * heads + head) * d;
        const scores = Array.from({ length: nK }, (_, j) => {
          let sum = 0;
          for (let i = 0; i < d; i++) sum += q.rows[t * d + i]! * k.rows[j * d + i]!;
          return round(sum * scale);
        });
        const most = Math.max(...scores);
        const total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
        result.lse[(image * heads + head) * nQ + t] = most + Math.log(total);
        const weights = scores.map((score) => round(Math.exp(score - most) / total));
        for (let j = 0; j < nK; j++) {
          for (let i = 0; i < d; i++) result.out[row + i]! += weights[j]! * p.v[v(j) + i]!;
        }
        for (let i = 0; i < d; i++) result.out[row + i] = round(result.out[row + i]!);

        const gradWeights = weights.map((_, j) => {
          let sum = 0;
          for (let i = 0; i < d; i++) sum += p.gradOut[row + i]! * p.v[v(j) + i]!;
          return round(sum);
        });
        const delta = weights.reduce((sum, weight, j) => sum + weight * gradWeights[j]!, 0);
        for (let j = 0; j < nK; j++) {
          const gradScore = round(weights[j]! * (gradWeights[j]! - delta)) * scale;
          for (let i = 0; i < d; i++) {
            result.gradV[v(j) + i]! += weights[j]! * p.gradOut[row + i]!;
            gradQ[t * d + i]! += gradScore * k.rows[j * d + i]!;
            gradK[j * d + i]! += gradScore * q.rows[t * d + i]!;
          }
        }
      }
      const { gradFrequencies } = result;
      const roundAll = (values: Float64Array) => values.map(round);
      rotateBack(
        p,
        p.q,
        result.gradQ,
        gradFrequencies,
        q,
        roundAll(gradQ),
        image * nQ,
        head,
        nQ,
        p.qCoordinates,
        source * nQ,
      );
      rotateBack(
        p,
        p.k,
        result.gradK,
        gradFrequencies,
        k,
        roundAll(gradK),
        context * nK,
        head,
        nK,
        p.kCoordinates,
        source * nK,
      );
    }
  }
  for (const gradient of [result.gradQ, result.gradK, result.gradV]) {
    for (let i = 0; i < gradient.length; i++) gradient[i] = round(gradient[i]!);
  }
  return result;
}

/** CAPI's frequencies: METHOD section 4. */
export function capiFrequencies(d: number): Float32Array {
  const quarter = d / 4;
  const frequencies = new Float32Array(2 * d);
  for (let i = 0; i < d / 2; i++) {
    const exponent = quarter > 1 ? (i % quarter) / (quarter - 1) : 0;
    const frequency = 2 * Math.PI * 7 * 1e4 ** -exponent;
    frequencies[i] = frequency;
    frequencies[d + d / 2 + i] = frequency;
  }
  return frequencies;
}
