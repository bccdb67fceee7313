import type { Tensor } from './tensor.js';

/** Which source rows an op takes: row i is `image(i / rows) * sourceRows + sourceOffset + i % rows`. */
export interface RowMap {
  /** i32 [1, images], distinct; absent: every image in order. */
  readonly images?: Tensor | undefined;
  /** Rows an image has in the op's output; 0 or absent: the identity. */
  readonly rows?: number | undefined;
  /** Rows an image has in the source. */
  readonly sourceRows?: number | undefined;
  /** First row taken of each image. */
  readonly sourceOffset?: number | undefined;
}

export interface NormOps {
  /**
   * `y[i] = x[s(i)] / sqrt(mean(x[s(i)]²) + eps) · weight`, with `s` the row map. METHOD section 4.
   * @param options.x f32 | bf16 [source rows, D]
   * @param options.weight f32 or dtype of x [1, D]; absent: 1
   * @param options.y dtype of x [rows, D]
   * @param options.rstd f32 [1, rows], saved for the backward pass
   */
  rmsNormForward(
    options: {
      readonly x: Tensor;
      readonly weight?: Tensor | undefined;
      readonly y: Tensor;
      readonly rstd?: Tensor | undefined;
      readonly eps: number;
    } & RowMap,
  ): void;
}
