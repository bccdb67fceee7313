/**
 * The teacher's clustering head: L2-normalise, linear layer with bias, Sinkhorn-Knopp, the head's own loss and
 * gradient, and the targets of the predicted positions. METHOD section 5. The [B, N, K] logits never exist whole: they
 * are made, used and dropped chunk by chunk of positions, rows position-major so that a position's images lie together.
 */

import type { Backend } from '../native/addon.js';
import type { Arena } from '../tensor/arena.js';
import type { ComputeDtype } from '../tensor/dtype.js';
import { ops } from '../tensor/ops.js';
import type { ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';

export const clusteringNames = { weight: 'head.layer.weight', bias: 'head.layer.bias' };

const inputEps = 1e-7;
/**
 * Logits of one chunk. CPU: large enough for full GEMM speed, small enough to stay near the cores. CUDA: 16 positions of
 * the default recipe, 256 MiB of bf16. A chunk reads the f32 gradient of the weight, 67 MB for ViT-L, and writes it again:
 * that costs more than what smaller chunks would save by staying in the L2 cache.
 */
const chunkLogits: Readonly<Record<Backend, number>> = { cpu: 8 << 20, cuda: 128 << 20 };

export interface ClusteringConfig {
  /** B, N, D, K */
  readonly images: number;
  readonly positions: number;
  readonly width: number;
  readonly numClusters: number;
  readonly bias: boolean;
  readonly positionwise: boolean;
  readonly iterations: number;
  readonly targetTemp: number;
  readonly predTemp: number;
  readonly dtype: ComputeDtype;
}

export function addClusteringHead(layout: ParameterLayout, config: ClusteringConfig): void {
  layout.add(clusteringNames.weight, [config.numClusters, config.width], { kind: 'normal', std: 1 });
  if (config.bias) layout.add(clusteringNames.bias, [config.numClusters], { kind: 'constant', value: 0 });
}

export interface ClusteringWeights {
  /** [K, D] in the compute dtype */
  readonly weight: Tensor;
  /** [1, K]; absent: no bias */
  readonly bias?: Tensor | undefined;
  /** f32; absent: assignments only, nothing is trained */
  readonly gradWeight?: Tensor | undefined;
  readonly gradBias?: Tensor | undefined;
}

export function clusteringWeights(
  values: ParameterSet,
  gradients: ParameterSet,
  bias: boolean,
): ClusteringWeights {
  return {
    weight: values.matrix(clusteringNames.weight),
    bias: bias ? values.matrix(clusteringNames.bias) : undefined,
    gradWeight: gradients.matrix(clusteringNames.weight),
    gradBias: bias ? gradients.matrix(clusteringNames.bias) : undefined,
  };
}

interface Chunk {
  readonly first: boolean;
  /** positions of the chunk */
  readonly positions: number;
  /** [positions·B, D] */
  readonly features: Tensor;
  /** [positions·B, K] */
  readonly logits: Tensor;
  /** i32 [1, positions·B] */
  readonly targetRows: Tensor;
  /** f32 [1, positions·B]; standard variant only */
  readonly rowScale: Tensor | undefined;
}

export class ClusteringHead {
  /** f64 [1, 1] */
  readonly loss: Tensor;
  readonly #config: ClusteringConfig;
  /** i32 [1, N·B]: row b·N + t of position-major row t·B + b */
  readonly #positionMajor: Tensor;
  /** i32 [1, N·B]: row of the targets, or -1 */
  readonly #targetRows: Tensor;
  readonly #chunks: readonly Chunk[];
  /** [N·B, D] */
  readonly #features: Tensor;
  /** Standard variant: f32 [1, K] each. */
  readonly #columns: { readonly max: Tensor; readonly scale: Tensor; readonly sums: Tensor } | undefined;

  /**
   * @param arena for what lives while the head works
   * @param constants for what is written once, by `prepare`
   */
  constructor(config: ClusteringConfig, arena: Arena, constants: Arena, loss: Tensor) {
    const { images, positions, width, numClusters, dtype } = config;
    this.#config = config;
    this.loss = loss;
    this.#positionMajor = constants.reserve([1, positions * images], 'i32');
    this.#targetRows = arena.reserve([1, positions * images], 'i32');
    this.#features = arena.reserve([positions * images, width], dtype);
    const column = () => arena.reserve([1, numClusters], 'f32');
    this.#columns = config.positionwise ? undefined : { max: column(), scale: column(), sums: column() };
    const rowScale = config.positionwise ? undefined : arena.reserve([1, positions * images], 'f32');
    const fitting = Math.floor(chunkLogits[arena.backend] / (images * numClusters));
    const most = Math.max(1, Math.min(positions, fitting));
    const buffer = arena.reserve([most * images, numClusters], dtype);
    this.#chunks = Array.from({ length: Math.ceil(positions / most) }, (_, i) => {
      const begin = i * most * images;
      const end = Math.min((i + 1) * most, positions) * images;
      return {
        first: i === 0,
        positions: (end - begin) / images,
        features: this.#features.rowRange(begin, end),
        logits: buffer.rowRange(0, end - begin),
        targetRows: this.#targetRows.columnRange(begin, end),
        rowScale: rowScale?.columnRange(begin, end),
      };
    });
  }

  /** Writes the constants; once, after memory was allocated. */
  prepare(): void {
    const { images, positions } = this.#config;
    this.#positionMajor.write(
      Int32Array.from(
        { length: positions * images },
        (_, row) => (row % images) * positions + Math.floor(row / images),
      ),
    );
  }

  /**
   * Trains the head on a batch and picks the targets.
   * @param features [B·N, D], image-major: the teacher's normalised patch features
   * @param predict i32 [1, B·P] into the flattened batch
   * @param targets [B·P, K], overwritten with the assignments at `predict`
   */
  run(features: Tensor, predict: Tensor, targets: Tensor, weights: ClusteringWeights): void {
    const { images, positions } = this.#config;
    ops.gatherRows({ x: features, indices: this.#positionMajor, y: this.#features });
    ops.l2NormalizeForward({ x: this.#features, y: this.#features, eps: inputEps });
    ops.targetRows({ predict, targetRows: this.#targetRows, images, positions });
    if (this.#columns) this.#balanceColumns(this.#columns, weights);
    for (const chunk of this.#chunks) {
      this.#logits(chunk, weights);
      this.#lossAndTargets(chunk, targets, weights);
      if (weights.gradWeight) {
        const gradLogits = chunk.logits;
        ops.gemm({
          a: gradLogits,
          b: chunk.features,
          transposeA: true,
          c: weights.gradWeight,
          accumulate: !chunk.first,
        });
      }
    }
  }

  #logits(chunk: Chunk, { weight, bias }: ClusteringWeights): void {
    ops.gemm({ a: chunk.features, b: weight, transposeB: true, bias, c: chunk.logits });
  }

  #lossAndTargets(chunk: Chunk, targets: Tensor, { gradWeight, gradBias }: ClusteringWeights): void {
    const { images, positions, iterations, targetTemp, predTemp } = this.#config;
    const shared = {
      logits: chunk.logits,
      loss: this.loss,
      gradLogits: gradWeight ? chunk.logits : undefined,
      gradBias,
      targetRows: chunk.targetRows,
      targets,
      targetTemp,
      predTemp,
      totalRows: positions * images,
      accumulate: !chunk.first,
    };
    if (this.#columns) {
      const { max, scale } = this.#columns;
      const state = { columnMax: max, columnScale: scale, rowScale: chunk.rowScale as Tensor };
      ops.clusteringLoss({ ...shared, ...state, groups: 1 });
    } else {
      ops.sinkhornKnoppLoss({ ...shared, groups: chunk.positions, iterations });
    }
  }

  /** Standard variant: one problem over all rows. Each pass makes the chunks' logits anew instead of keeping them. */
  #balanceColumns(
    columns: { readonly max: Tensor; readonly scale: Tensor; readonly sums: Tensor },
    weights: ClusteringWeights,
  ): void {
    const { iterations, targetTemp } = this.#config;
    for (const chunk of this.#chunks) {
      this.#logits(chunk, weights);
      ops.sinkhornColumnMax({
        logits: chunk.logits,
        columnMax: columns.max,
        groups: 1,
        accumulate: !chunk.first,
      });
    }
    for (let iteration = 0; iteration < iterations; iteration++) {
      for (const chunk of this.#chunks) {
        this.#logits(chunk, weights);
        ops.sinkhornColumnSums({
          logits: chunk.logits,
          columnMax: columns.max,
          columnScale: iteration === 0 ? undefined : columns.scale,
          rowScale: chunk.rowScale as Tensor,
          columnSums: columns.sums,
          groups: 1,
          targetTemp,
          accumulate: !chunk.first,
        });
      }
      ops.sinkhornUpdateColumns({
        columnSums: columns.sums,
        columnScale: columns.scale,
        first: iteration === 0,
      });
    }
  }
}
