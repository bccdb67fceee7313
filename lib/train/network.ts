/** From the configuration's published keys to the shapes that the modules are built with. */

import type { Config } from '../config/schema.js';
import { runShape } from '../config/shape.js';
import type { ClusteringConfig } from '../loss/clustering_head.js';
import { type ModelConfig, numPositions, patchValues } from '../model/model_config.js';
import type { HeadConfig } from '../model/student_head.js';

export interface Network {
  readonly model: ModelConfig;
  readonly head: HeadConfig;
  readonly clustering: ClusteringConfig;
  /** B */
  readonly images: number;
  /** V and P, an image */
  readonly visible: number;
  readonly predicted: number;
  readonly masked: number;
}

export function network(config: Config): Network {
  const shape = runShape(config);
  const { encoder, predictor } = shape;
  const { model, capi, optim } = config;
  const images = optim.batch_size_per_gpu;
  const modelConfig: ModelConfig = {
    patchSize: shape.patchSize,
    grid: [shape.grid, shape.grid],
    width: encoder.embedDim,
    numHeads: encoder.numHeads,
    encoderDepth: encoder.depth,
    predictorDepth: model.predictor === 'fused' ? 0 : predictor.depth,
    predictor: model.predictor,
    registers: model.n_registers,
    // Without rotary encoding nothing reads coordinates, and any number of registers will do.
    registerCoordinates: model.position.startsWith('rope') ? model.register_coordinates : 'zeros',
    scaleRegistersToVisible: model.scale_reg_to_visible,
    position: model.position,
    ropeFrequencies: [encoder.maxFreq, encoder.minFreq],
    encoderDropPath: encoder.dropPathRate,
    predictorDropPath: predictor.dropPathRate,
    normEps: model.norm_layer_kwargs.eps,
    dtype: config.efficiency.param_dtype === 'bfloat16' ? 'bf16' : 'f32',
  };
  const { clustering_kwargs: clustering } = capi;
  return {
    model: modelConfig,
    head: { numClusters: capi.num_clusters, kind: capi.loss_variant === 'mlp_head' ? 'mlp' : 'linear' },
    clustering: {
      images,
      positions: numPositions(modelConfig),
      width: capi.target_source === 'pixels' ? patchValues(modelConfig) : modelConfig.width,
      numClusters: capi.num_clusters,
      bias: clustering.bias,
      positionwise: clustering.positionwise_sk,
      iterations: clustering.n_sk_iter,
      targetTemp: clustering.target_temp,
      predTemp: clustering.pred_temp,
      dtype: modelConfig.dtype,
    },
    images,
    visible: shape.visible,
    predicted: shape.predicted,
    masked: shape.masked,
  };
}
