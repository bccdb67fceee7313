/** Features of many samples as the evaluations take them, and their standardisation. */

/** A row-major matrix, one sample (or one patch) a row. */
export interface FeatureMatrix {
  readonly data: Float32Array | Float64Array; // [rows, cols]
  readonly rows: number;
  readonly cols: number;
}

export interface Standardizer {
  readonly mean: Float64Array; // [cols]
  readonly scale: Float64Array; // [cols], population standard deviation; 1 where a column is constant
}

/** Column means and standard deviations, meant for the training features only. */
export function fitStandardizer({ data, rows, cols }: FeatureMatrix): Standardizer {
  const mean = new Float64Array(cols);
  const scale = new Float64Array(cols);
  for (let j = 0; j < cols; j++) {
    let sum = 0;
    for (let at = j; at < rows * cols; at += cols) sum += data[at] as number;
    const center = sum / rows;
    let squares = 0;
    for (let at = j; at < rows * cols; at += cols) squares += ((data[at] as number) - center) ** 2;
    const deviation = Math.sqrt(squares / rows);
    mean[j] = center;
    scale[j] = deviation > 1e-12 * (1 + Math.abs(center)) ? deviation : 1;
  }
  return { mean, scale };
}

/** (x - mean) / scale, in float64. */
export function standardize(
  { data, rows, cols }: FeatureMatrix,
  { mean, scale }: Standardizer,
): FeatureMatrix {
  const out = new Float64Array(rows * cols);
  for (let at = 0; at < out.length; at++) {
    out[at] = ((data[at] as number) - (mean[at % cols] as number)) / (scale[at % cols] as number);
  }
  return { data: out, rows, cols };
}

/** Mean over the patches of each image: [images * patches, cols] to [images, cols]. */
export function meanOverPatches({ data, rows, cols }: FeatureMatrix, patches: number): FeatureMatrix {
  const images = Math.floor(rows / patches);
  const out = new Float64Array(images * cols);
  for (let at = 0; at < images * patches * cols; at++) {
    const to = Math.floor(at / (patches * cols)) * cols + (at % cols);
    out[to] = (out[to] as number) + (data[at] as number) / patches;
  }
  return { data: out, rows: images, cols };
}

/** Share of predictions that equal the label. */
export function accuracy(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predicted[i] === labels[i]) right++;
  return right / labels.length;
}
