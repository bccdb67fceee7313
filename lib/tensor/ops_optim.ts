import type { Tensor } from './tensor.js';

export interface OptimOps {
  /**
   * AdamW over flat arenas and the moving average of the result, in one pass. METHOD section 7.
   * @param options.param f32 [1, n]
   * @param options.grad f32 [1, n]
   * @param options.m f32 [1, n], first moment
   * @param options.v f32 [1, n], second moment
   * @param options.ema f32 [1, n]: `ema = momentum·ema + (1 − momentum)·param` after the step
   * @param options.paramBf16 bf16 [1, n], a copy of param after the step
   * @param options.emaBf16 bf16 [1, n], a copy of ema
   * @param options.segments i32 [S, 2] (offset, length), ascending, disjoint; other elements stay as they are
   * @param options.multipliers f32 [S, 2] of learning rate and weight decay; a rate of 0 leaves param as it is
   * @param options.scalars f32 [1, 4]: learning rate, weight decay, momentum, unused
   * @param options.step i32 [1, 1]: steps taken so far; incremented
   * @param options.nonfinite i32 [1, 1]: when not 0 nothing changes at all
   */
  adamwEma(options: {
    readonly param: Tensor;
    readonly grad: Tensor;
    readonly m: Tensor;
    readonly v: Tensor;
    readonly ema?: Tensor | undefined;
    readonly paramBf16?: Tensor | undefined;
    readonly emaBf16?: Tensor | undefined;
    readonly segments: Tensor;
    readonly multipliers: Tensor;
    readonly scalars: Tensor;
    readonly step: Tensor;
    readonly nonfinite?: Tensor | undefined;
    readonly beta1: number;
    readonly beta2: number;
    readonly eps: number;
  }): void;

  /**
   * The number of infinite or NaN elements of `x`.
   * @param options.x f32 | bf16 | f64
   * @param options.count i32 [1, 1]
   * @param options.accumulate add to count (default false)
   */
  countNonfinite(options: {
    readonly x: Tensor;
    readonly count: Tensor;
    readonly accumulate?: boolean | undefined;
  }): void;
}
