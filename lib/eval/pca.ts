/**
 * Patch features as colours: the first three principal components, each scaled to unit variance, its sign chosen
 * so that its skew is positive, ±2.3 standard deviations mapped to 0..255.
 */
import type { FeatureMatrix } from './features.js';
import { largestEigenpairs } from './symmetric_eigen.js';

export interface PrincipalComponents {
  /** Whitened projections: every column has mean 0 and variance 1, or is 0 where nothing varies. */
  readonly projected: Float64Array; // [rows, components]
  readonly components: number;
  readonly explained: Float64Array; // [components], share of the variance
}

const COLOUR_RANGE = 2.3;

export function principalComponents(features: FeatureMatrix, components: number): PrincipalComponents {
  const { rows, cols } = features;
  const centered = center(features);
  // Of the two matrices that share their eigenvalues take the smaller one.
  const wide = cols > rows;
  const n = wide ? rows : cols;
  const gram = wide ? outerProducts(centered, rows, cols) : covariance(centered, rows, cols);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
  const count = Math.min(components, n);
  const { values, vectors } = largestEigenpairs(gram, n, count);
  const projected = new Float64Array(rows * components);
  const explained = new Float64Array(components);
  for (let k = 0; k < count; k++) {
    const value = values[k] as number;
    if (!(value > 1e-12 * trace)) continue;
    explained[k] = value / trace;
    // Scores of variance value / rows, so this scale makes it 1; the eigenvector of the wide form is the score.
    const scale = wide ? Math.sqrt(rows) : Math.sqrt(rows / value);
    for (let i = 0; i < rows; i++) {
      let score = 0;
      if (wide) score = vectors[k * n + i] as number;
      else
        for (let j = 0; j < cols; j++)
          score += (centered[i * cols + j] as number) * (vectors[k * n + j] as number);
      projected[i * components + k] = score * scale;
    }
    makeSkewPositive(projected, rows, components, k);
  }
  return { projected, components, explained };
}

/** RGB bytes, one pixel a row. */
export function componentColours(features: FeatureMatrix): Uint8Array {
  const { projected } = principalComponents(features, 3);
  return Uint8Array.from(projected, (value) => {
    const share = (value + COLOUR_RANGE) / (2 * COLOUR_RANGE);
    return Math.round(255 * Math.min(1, Math.max(0, share)));
  });
}

/** The same for several images of `patches` rows each, every image with components of its own. */
export function componentColoursPerImage(features: FeatureMatrix, patches: number): Uint8Array[] {
  return Array.from({ length: Math.floor(features.rows / patches) }, (_, image) => {
    const from = image * patches * features.cols;
    const data = features.data.subarray(from, from + patches * features.cols);
    return componentColours({ data, rows: patches, cols: features.cols });
  });
}

/** The same with one set of components for all images, so that equal colours mean equal features. */
export function componentColoursJoint(features: FeatureMatrix, patches: number): Uint8Array[] {
  const colours = componentColours(features);
  return Array.from({ length: Math.floor(features.rows / patches) }, (_, image) =>
    colours.slice(image * patches * 3, (image + 1) * patches * 3),
  );
}

function center({ data, rows, cols }: FeatureMatrix): Float64Array {
  const centered = Float64Array.from(data);
  for (let j = 0; j < cols; j++) {
    let sum = 0;
    for (let at = j; at < rows * cols; at += cols) sum += centered[at] as number;
    for (let at = j; at < rows * cols; at += cols) centered[at] = (centered[at] as number) - sum / rows;
  }
  return centered;
}

function covariance(x: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(cols * cols);
  for (let i = 0; i < rows; i++) {
    for (let a = 0; a < cols; a++) {
      const value = x[i * cols + a] as number;
      for (let b = 0; b < cols; b++) {
        out[a * cols + b] = (out[a * cols + b] as number) + value * (x[i * cols + b] as number);
      }
    }
  }
  return out;
}

function outerProducts(x: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(rows * rows);
  for (let a = 0; a < rows; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += (x[a * cols + j] as number) * (x[b * cols + j] as number);
      out[a * rows + b] = sum;
      out[b * rows + a] = sum;
    }
  }
  return out;
}

function makeSkewPositive(projected: Float64Array, rows: number, components: number, k: number): void {
  let cubes = 0;
  for (let i = 0; i < rows; i++) cubes += (projected[i * components + k] as number) ** 3;
  if (cubes >= 0) return;
  for (let i = 0; i < rows; i++) projected[i * components + k] = -(projected[i * components + k] as number);
}
