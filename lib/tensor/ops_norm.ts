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

  /**
   * Gradients of `rmsNormForward`; with `y` also its output again, so that it need not be kept.
   * @param options.x f32 | bf16 [source rows, D], as in the forward pass
   * @param options.weight f32 or dtype of x [1, D]; absent: 1
   * @param options.rstd f32 [1, rows], from the forward pass
   * @param options.gradY dtype of x [rows, D]
   * @param options.gradX dtype of x [source rows, D]; rows that the map misses are left alone; may be x or gradY
   * @param options.accumulate add to gradX instead of overwriting (default false)
   * @param options.gradWeight f32 [1, D], overwritten
   * @param options.y dtype of x [rows, D]
   */
  rmsNormBackward(
    options: {
      readonly x: Tensor;
      readonly weight?: Tensor | undefined;
      readonly rstd: Tensor;
      readonly gradY: Tensor;
      readonly gradX: Tensor;
      readonly accumulate?: boolean | undefined;
      readonly gradWeight?: Tensor | undefined;
      readonly y?: Tensor | undefined;
    } & RowMap,
  ): void;

  /**
   * `y = x / max(|x|, eps)` by rows. METHOD sections 5 (eps 1e-7) and 6 (eps 1e-12).
   * @param options.x f32 | bf16 [rows, D]
   * @param options.y f32 | bf16 [rows, D]
   * @param options.invNorm f32 [1, rows], saved for the backward pass: 1/|x|, negative where eps took its place
   */
  l2NormalizeForward(options: {
    readonly x: Tensor;
    readonly y: Tensor;
    readonly invNorm?: Tensor | undefined;
    readonly eps: number;
  }): void;

  /**
   * @param options.y f32 | bf16 [rows, D], from the forward pass
   * @param options.invNorm f32 [1, rows], from the forward pass
   * @param options.gradY dtype of y [rows, D]
   * @param options.gradX f32 | bf16 [rows, D], overwritten; may be gradY
   */
  l2NormalizeBackward(options: {
    readonly y: Tensor;
    readonly invNorm: Tensor;
    readonly gradY: Tensor;
    readonly gradX: Tensor;
  }): void;

  /**
   * `weight[k] = v[k] · g[k] / (|v[k]| + eps)`. METHOD section 6 (eps 1e-8).
   * @param options.v f32 [K, D]
   * @param options.g f32 [K, 1]
   * @param options.weight f32 | bf16 [K, D]
   */
  weightNormForward(options: {
    readonly v: Tensor;
    readonly g: Tensor;
    readonly weight: Tensor;
    readonly eps: number;
  }): void;

  /**
   * @param options.gradWeight f32 [K, D]
   * @param options.gradV f32 [K, D], overwritten; may be gradWeight
   * @param options.gradG f32 [K, 1], overwritten
   */
  weightNormBackward(options: {
    readonly v: Tensor;
    readonly g: Tensor;
    readonly gradWeight: Tensor;
    readonly gradV: Tensor;
    readonly gradG: Tensor;
    readonly eps: number;
  }): void;
}
