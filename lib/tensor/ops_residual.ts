import type { Tensor } from './tensor.js';

export interface ResidualOps {
  /**
   * `y = x`, then `y[image images[j]] += scale · branch[image j]`. METHOD section 4, stochastic depth.
   * @param options.x f32 | bf16 [B·rows, D]
   * @param options.branch f32 | bf16 [b·rows, D]
   * @param options.y dtype of x [B·rows, D]; may be x
   * @param options.images i32 [1, b] in [0, B), distinct; absent: all images, b = B
   * @param options.rows rows of an image
   * @param options.scale B / b under stochastic depth (default 1)
   */
  residualForward(options: {
    readonly x: Tensor;
    readonly branch: Tensor;
    readonly y: Tensor;
    readonly images?: Tensor | undefined;
    readonly rows: number;
    readonly scale?: number | undefined;
  }): void;

  /**
   * The branch's gradient: `gradBranch[image j] = scale · gradY[image images[j]]`.
   * @param options.gradY f32 | bf16 [B·rows, D]
   * @param options.gradBranch f32 | bf16 [b·rows, D], overwritten
   * @param options.images as in `residualForward`
   */
  residualGather(options: {
    readonly gradY: Tensor;
    readonly gradBranch: Tensor;
    readonly images?: Tensor | undefined;
    readonly rows: number;
    readonly scale?: number | undefined;
  }): void;

  /**
   * Every row of `indices` becomes an independent uniform subset of [0, batch), ascending: the images that a
   * residual branch runs on. A function of (seed, iteration, firstBranch + row).
   * @param options.indices i32 [branches, n_keep], n_keep <= batch
   * @param options.iteration i32 [1, 1], read when the op runs
   */
  dropPathIndices(options: {
    readonly indices: Tensor;
    readonly batch: number;
    readonly seed: number;
    readonly iteration: Tensor;
    /** Number of row 0 among all branches (default 0). */
    readonly firstBranch?: number | undefined;
  }): void;
}
