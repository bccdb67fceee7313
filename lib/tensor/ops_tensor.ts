import type { Tensor } from './tensor.js';

export interface TensorOps {
  /** `x = 0`, any dtype. */
  zero(options: { readonly x: Tensor }): void;

  /** `y = x`, one shape and dtype; they must not overlap. */
  copy(options: { readonly x: Tensor; readonly y: Tensor }): void;

  /** `y = x` between f32 and bf16, rounded to nearest even. */
  cast(options: { readonly x: Tensor; readonly y: Tensor }): void;

  /**
   * Random values as a function of (seed, stream, element).
   * @param options.x f32 | bf16
   * @param options.distribution `uniform`: U(-scale, scale); `normal`: N(0, scale²)
   * @param options.stream in [0, 2^32): another one for each tensor that a seed fills
   */
  fillRandom(options: {
    readonly x: Tensor;
    readonly distribution: 'uniform' | 'normal';
    readonly scale: number;
    readonly seed: number;
    readonly stream: number;
  }): void;

  /**
   * `y[j] = scale · Σ_i x[i, j]`: the gradient of a bias.
   * @param options.x f32 | bf16 [m, n]
   * @param options.y f32 [1, n], overwritten
   * @param options.scale default 1
   */
  sumRows(options: { readonly x: Tensor; readonly y: Tensor; readonly scale?: number | undefined }): void;
}
