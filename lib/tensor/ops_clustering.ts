import type { Tensor } from './tensor.js';

/** What the last pass over the logits leaves behind. All optional; `targets` and `targetRows` go together. */
export interface ClusteringOutputs {
  /** f64 [1, 1]: the mean of the row losses over `totalRows`. */
  readonly loss?: Tensor | undefined;
  /** dtype of logits [groups · n, K], may be the logits themselves. */
  readonly gradLogits?: Tensor | undefined;
  /** f32 [1, K]: column sums of the gradient. */
  readonly gradBias?: Tensor | undefined;
  /** i32 [1, groups · n]: the row of `targets` that takes this row's assignment, −1 for none. See `targetRows`. */
  readonly targetRows?: Tensor | undefined;
  /** f32 | bf16 [P, K]; rows that no entry of `targetRows` names stay as they are. */
  readonly targets?: Tensor | undefined;
  /** f32 [groups · n, K]: the whole assignment, for tests and small problems. */
  readonly assignments?: Tensor | undefined;
  readonly targetTemp: number;
  readonly predTemp: number;
  /** Rows of the whole problem, all chunks together: what the loss is a mean over. */
  readonly totalRows: number;
  /** Adds to what loss and gradBias hold: for every chunk but the first. */
  readonly accumulate?: boolean | undefined;
}

/**
 * Sinkhorn-Knopp as scaling vectors with the clustering loss, METHOD section 5. Logits f32 | bf16 [groups · n, K],
 * a group's rows together: positionwise a group is a position and its rows are the images; standard is one group.
 *
 * A chunk of positions whose images are all on this machine is one op. For positions [p0, p1), image-major features z
 * and head (weight [K, D], bias): gather z's rows position-major (row (p − p0) · B + b ← token of image b, position p)
 * → l2Normalize → gemm to logits → `sinkhornKnoppLoss` with `gradLogits: logits` and the slice
 * [p0 · B, p1 · B) of `targetRows` → gemm(logits ᵀ, normalised rows) accumulated into the weight gradient.
 * `accumulate` is false for the first chunk only; `totalRows` is B · N.
 *
 * Problems larger than a chunk, or spread over ranks, are composed of phases, each over every chunk in turn:
 * `sinkhornColumnMax` (all-reduce max), `sinkhornColumnSums` without columnScale (all-reduce sum),
 * `sinkhornUpdateColumns` with `first`, then for each further iteration `sinkhornColumnSums` (all-reduce sum) and
 * `sinkhornUpdateColumns`, then `clusteringLoss`. rowScale belongs to the rows of its chunk.
 */
export interface ClusteringOps {
  /**
   * `columnMax[g] = max over the rows of group g`, in the logits' own scale.
   * @param options.columnMax f32 [groups, K]
   * @param options.accumulate keeps the maximum with what columnMax holds
   */
  sinkhornColumnMax(options: {
    readonly logits: Tensor;
    readonly columnMax: Tensor;
    readonly groups: number;
    readonly accumulate?: boolean | undefined;
  }): void;

  /**
   * `rowScale` takes in the row sums under `columnScale` (absent, the first pass: it becomes 1), then
   * `columnSums = Σ over rows of rowScale · exp((logits − columnMax) / targetTemp + 50)`.
   * @param options.columnScale f32 [groups, K]
   * @param options.rowScale f32 [1, groups · n], read and written
   * @param options.columnSums f32 [groups, K]
   */
  sinkhornColumnSums(options: {
    readonly logits: Tensor;
    readonly columnMax: Tensor;
    readonly columnScale?: Tensor | undefined;
    readonly rowScale: Tensor;
    readonly columnSums: Tensor;
    readonly groups: number;
    readonly targetTemp: number;
    readonly accumulate?: boolean | undefined;
  }): void;

  /** `columnScale = 1 / (columnSums + 1e-8)` when first, else `columnScale / (columnScale · columnSums + 1e-8)`. */
  sinkhornUpdateColumns(options: {
    readonly columnSums: Tensor;
    readonly columnScale: Tensor;
    readonly first?: boolean | undefined;
  }): void;

  /**
   * The last row normalisation, then `−Σ_k A · log softmax(logits / predTemp)` averaged over totalRows, its gradient
   * and the selected assignments. Without columnScale and rowScale, A is the shifted exponential itself.
   */
  clusteringLoss(
    options: {
      readonly logits: Tensor;
      readonly columnMax: Tensor;
      readonly columnScale?: Tensor | undefined;
      readonly rowScale?: Tensor | undefined;
      readonly groups: number;
    } & ClusteringOutputs,
  ): void;

  /** All phases, for groups that are complete in `logits`. iterations: 3 when absent, at least 0. */
  sinkhornKnoppLoss(
    options: {
      readonly logits: Tensor;
      readonly groups: number;
      readonly iterations?: number | undefined;
    } & ClusteringOutputs,
  ): void;

  /**
   * For every position-major row `position · images + image`, where in `predict` its patch is, or −1.
   * @param options.predict i32 [1, P]: patches `image · positions + position` in [0, images · positions), distinct
   * @param options.targetRows i32 [1, positions · images]
   */
  targetRows(options: {
    readonly predict: Tensor;
    readonly targetRows: Tensor;
    readonly images: number;
    readonly positions: number;
  }): void;

  /**
   * Health of targets, METHOD section 9: mean entropy of the rows in nats and mean mass of each prototype.
   * @param options.targets f32 | bf16 [P, K]
   * @param options.entropy f32 [1, 1]
   * @param options.mass f32 [1, K]
   */
  targetStatistics(options: {
    readonly targets: Tensor;
    readonly entropy: Tensor;
    readonly mass: Tensor;
  }): void;

  /**
   * Positional collapse is `result[0] / result[1]`: the variance of the per-position means, and of all rows.
   * @param options.features f32 | bf16 [images · (registers + positions), D], registers first and left out
   * @param options.result f64 [1, 2]
   */
  positionalCollapse(options: {
    readonly features: Tensor;
    readonly result: Tensor;
    readonly positions: number;
    readonly registers?: number | undefined;
  }): void;
}
