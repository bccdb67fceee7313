/** The models that steps are measured at: two on a CPU, two on a GPU, and one to try the harness with. */
import { resolveConfig } from '../../lib/config/load.js';
import type { Config } from '../../lib/config/schema.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';

interface Size {
  readonly width: number;
  readonly depths: readonly [encoder: number, predictor: number];
  readonly heads: number;
  readonly patch: number;
  readonly image: number;
  readonly registers: number;
  readonly clusters: number;
  readonly batch: number;
}

/** As SHAPES in benchmarks/baselines/capi_torch.py. */
const sizes = {
  tiny: {
    width: 192,
    depths: [6, 3],
    heads: 3,
    patch: 4,
    image: 32,
    registers: 4,
    clusters: 1024,
    batch: 128,
  },
  vit_s: {
    width: 384,
    depths: [12, 6],
    heads: 6,
    patch: 14,
    image: 224,
    registers: 16,
    clusters: 4096,
    batch: 16,
  },
  // As configs/vit_l14.yaml, and configs/vit_s14.yaml with few images, which leave a GPU waiting for launches.
  vit_l: {
    width: 1024,
    depths: [24, 12],
    heads: 16,
    patch: 14,
    image: 224,
    registers: 16,
    clusters: 16384,
    batch: 512,
  },
  vit_s_64: {
    width: 384,
    depths: [12, 6],
    heads: 6,
    patch: 14,
    image: 224,
    registers: 16,
    clusters: 16384,
    batch: 64,
  },
  // One head of 64 channels, for the kernels that ViTs use.
  trial: { width: 64, depths: [2, 1], heads: 1, patch: 4, image: 32, registers: 4, clusters: 64, batch: 4 },
} as const satisfies Record<string, Size>;

export type SizeName = keyof typeof sizes;

export const sizeTitles: Readonly<Record<SizeName, string>> = {
  tiny: 'tiny',
  vit_s: 'ViT-S/14',
  vit_l: 'ViT-L/14',
  vit_s_64: 'ViT-S/14 b64',
  trial: 'trial',
};

/** Everything that is not a size is as published: mask ratio 0.65, 5 % of the masked predicted, drop path 0.2. */
export function sizeConfig(name: SizeName, dtype: ComputeDtype): Config {
  const size: Size = sizes[name];
  const [encoder, predictor] = size.depths;
  return resolveConfig({
    capi: { num_clusters: size.clusters },
    optim: { batch_size_per_gpu: size.batch },
    data: { images_size: size.image },
    model: {
      patch_size: size.patch,
      n_registers: size.registers,
      transformers_kwargs: {
        embed_dim: size.width,
        block_kwargs: { attn_kwargs: { num_heads: size.heads } },
      },
      encoder_kwargs: { depth: encoder },
      decoder_kwargs: { depth: predictor },
    },
    efficiency: { param_dtype: dtype === 'bf16' ? 'bfloat16' : 'float32' },
  }).config;
}
