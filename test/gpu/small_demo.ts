/** Overrides of configs/demo.yaml for the interpreter, which runs a thread of a GPU at a time. */
export const smallDemo: readonly string[] = [
  'capi.num_clusters=16',
  'capi.clustering_optimizer.lr_schedule.base_value=0.02',
  'optim.batch_size_per_gpu=4',
  'data.images_size=16',
  'model.transformers_kwargs.embed_dim=32',
  'model.transformers_kwargs.block_kwargs.attn_kwargs.num_heads=1',
  'model.encoder_kwargs.depth=1',
  'model.decoder_kwargs.depth=1',
];
