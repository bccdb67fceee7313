import type { Tensor } from './tensor.js';

export interface LinearOps {
  /**
   * `z = alpha · op(a) op(b) [+ c] [+ bias]`, then `c = gelu(z) [+ residual]`. Rows of every tensor may be strided;
   * sums are in f32 and do not depend on the number of threads.
   * @param options.a f32 | bf16 [m, k], or [k, m] with `transposeA`
   * @param options.b dtype of a [k, n], or [n, k] with `transposeB` (a weight as stored)
   * @param options.c f32 | bf16 [m, n]; not a, not b
   * @param options.accumulate add to what c holds
   * @param options.bias f32 | bf16 [1, n]
   * @param options.residual dtype of c [m, n]; may be c itself
   * @param options.gelu exact GELU. `forward`: c = gelu(z), and pre = z where given. `backward`: c = z · gelu'(pre),
   *   and pre becomes gelu(pre), which the next weight gradient multiplies
   * @param options.pre dtype of c [m, n]
   */
  gemm(options: {
    readonly a: Tensor;
    readonly b: Tensor;
    readonly c: Tensor;
    readonly transposeA?: boolean | undefined;
    readonly transposeB?: boolean | undefined;
    readonly alpha?: number | undefined;
    readonly accumulate?: boolean | undefined;
    readonly bias?: Tensor | undefined;
    readonly residual?: Tensor | undefined;
    readonly gelu?: 'forward' | 'backward' | undefined;
    readonly pre?: Tensor | undefined;
  }): void;
}
