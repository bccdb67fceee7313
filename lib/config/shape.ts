/** Sizes that follow from a configuration: the grid, the counts of patches of METHOD §3, and both stacks. */
import type { Config } from './schema.js';

export interface StackShape {
  readonly depth: number;
  readonly embedDim: number;
  readonly numHeads: number;
  readonly headDim: number;
  readonly dropPathRate: number;
  readonly maxFreq: number;
  readonly minFreq: number;
}

export interface RunShape {
  readonly imageSize: number;
  readonly patchSize: number;
  /** Patches a side. */
  readonly grid: number;
  /** N = grid². */
  readonly positions: number;
  readonly registers: number;
  readonly masked: number;
  /** P, an image. */
  readonly predicted: number;
  /** V, an image. */
  readonly visible: number;
  readonly numClusters: number;
  readonly encoder: StackShape;
  readonly predictor: StackShape;
}

/** Every size a model and its batches need; the same arithmetic as the published code (products truncate). */
export function runShape(config: Config): RunShape {
  const { data, model } = config;
  const grid = Math.floor(data.images_size / model.patch_size);
  const positions = grid * grid;
  return {
    imageSize: data.images_size,
    patchSize: model.patch_size,
    grid,
    positions,
    registers: model.n_registers,
    ...patchCounts(positions, data.mask_ratio, data.prediction_subsampling),
    numClusters: config.capi.num_clusters,
    encoder: stackShape(config, 'encoder_kwargs'),
    predictor: stackShape(config, 'decoder_kwargs'),
  };
}

/** How many of `positions` patches an image masks, predicts and sees. METHOD section 3. */
export function patchCounts(
  positions: number,
  maskRatio: number,
  predictionSubsampling: number,
): Pick<RunShape, 'masked' | 'predicted' | 'visible'> {
  const masked = Math.trunc(positions * maskRatio);
  return {
    masked,
    predicted: Math.trunc(masked * predictionSubsampling),
    visible: positions - masked,
  };
}

/** `encoder_kwargs` and `decoder_kwargs` win over `transformers_kwargs`. */
function stackShape(config: Config, which: 'encoder_kwargs' | 'decoder_kwargs'): StackShape {
  const shared = config.model.transformers_kwargs;
  const own = config.model[which];
  const sharedAttention = shared.block_kwargs.attn_kwargs;
  const ownAttention = own.block_kwargs?.attn_kwargs;
  const embedDim = own.embed_dim ?? shared.embed_dim;
  const numHeads = ownAttention?.num_heads ?? sharedAttention.num_heads;
  return {
    depth: own.depth,
    embedDim,
    numHeads,
    headDim: embedDim / numHeads,
    dropPathRate: own.drop_path_rate ?? shared.drop_path_rate,
    maxFreq: ownAttention?.rope_kwargs?.max_freq ?? sharedAttention.rope_kwargs.max_freq,
    minFreq: ownAttention?.rope_kwargs?.min_freq ?? sharedAttention.rope_kwargs.min_freq,
  };
}
