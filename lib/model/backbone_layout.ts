/** Which parameters a backbone has, under the published names (METHOD section 11), and how each starts. */

import { type ParameterLayout, xavier } from '../tensor/parameters.js';
import { type ModelConfig, mlpRatio, numPositions, patchValues } from './model_config.js';

export const names = {
  maskToken: 'backbone.mask_token',
  registers: 'backbone.registers',
  patchWeight: 'backbone.patch_embed.weight',
  patchBias: 'backbone.patch_embed.bias',
  /** Learned positions; the predictor has its own, since its tokens carry nothing else. */
  positions: 'backbone.position_embed',
  predictorPositions: 'backbone.decoder.position_embed',
  /** Published checkpoints call the predictor "decoder". */
  block(stack: 'encoder' | 'decoder', index: number) {
    const prefix = `backbone.${stack}.blocks.${index}`;
    const attention = `${prefix}.residual1.fn`;
    return {
      norm1: `${prefix}.residual1.norm.weight`,
      query: `${attention}.q_proj.weight`,
      key: `${attention}.k_proj.weight`,
      value: `${attention}.v_proj.weight`,
      projection: `${attention}.proj.weight`,
      frequencies: `${attention}.rope.freqs`,
      norm2: `${prefix}.residual2.norm.weight`,
      fc1: `${prefix}.residual2.fn.fc1.weight`,
      fc2: `${prefix}.residual2.fn.fc2.weight`,
    };
  },
};

export type BlockNames = ReturnType<typeof names.block>;

/** Whether the encoder alone, as a teacher or for features, needs this parameter: not the predictor's, nor a head's. */
export function isEncoderParameter(name: string): boolean {
  return name.startsWith('backbone.') && !name.includes('.decoder.') && name !== names.maskToken;
}

export function addBackbone(layout: ParameterLayout, config: ModelConfig): void {
  const { width, patchSize, registers } = config;
  const fanIn = patchValues(config);
  layout.add(names.maskToken, [1, width], { kind: 'normal', std: 0.02 });
  if (registers > 0) layout.add(names.registers, [1, registers, width], { kind: 'normal', std: 0.02 });
  layout.add(names.patchWeight, [width, 3, patchSize, patchSize], xavier(width, fanIn));
  layout.add(names.patchBias, [width], { kind: 'uniform', bound: 1 / Math.sqrt(fanIn) });
  if (config.position === 'learned') {
    const tables =
      config.predictor === 'fused' ? [names.positions] : [names.positions, names.predictorPositions];
    for (const name of tables) layout.add(name, [numPositions(config), width], { kind: 'normal', std: 0.02 });
  }
  for (let i = 0; i < config.encoderDepth; i++) {
    const block = names.block('encoder', i);
    addWeights(layout, width, [block.query, block.key, block.value]);
    addRest(layout, config, block);
  }
  // The predictor's blocks all read the same context: one GEMM makes every block's keys and values.
  const predictor = Array.from({ length: config.predictorDepth }, (_, i) => names.block('decoder', i));
  if (config.predictor === 'cross') {
    addWeights(
      layout,
      width,
      predictor.flatMap((block) => [block.key, block.value]),
    );
  }
  for (const block of predictor) {
    addWeights(
      layout,
      width,
      config.predictor === 'cross' ? [block.query] : [block.query, block.key, block.value],
    );
    addRest(layout, config, block);
  }
}

/** [2, d]: the x angle of a coordinate uses the first d/2 channels, the y angle the last d/2. METHOD section 4. */
export function ropeFrequencies(headDim: number, [max, min]: readonly [number, number]): Float32Array {
  const quarter = headDim / 4;
  const values = new Float32Array(2 * headDim);
  for (let j = 0; j < quarter; j++) {
    const exponent = quarter === 1 ? 0 : j / (quarter - 1);
    const frequency = 2 * Math.PI * max * (max / min) ** -exponent;
    for (const repeat of [0, quarter]) {
      values[repeat + j] = frequency;
      values[headDim + headDim / 2 + repeat + j] = frequency;
    }
  }
  return values;
}

function addWeights(layout: ParameterLayout, width: number, weights: readonly string[]): void {
  for (const name of weights) layout.add(name, [width, width], xavier(width, width));
}

function addRest(layout: ParameterLayout, config: ModelConfig, block: BlockNames): void {
  const { width } = config;
  const hidden = mlpRatio * width;
  const headDim = width / config.numHeads;
  layout.add(block.projection, [width, width], xavier(width, width));
  layout.add(block.fc1, [hidden, width], xavier(hidden, width));
  layout.add(block.fc2, [width, hidden], xavier(width, hidden));
  layout.add(block.norm1, [width], { kind: 'constant', value: 1 });
  layout.add(block.norm2, [width], { kind: 'constant', value: 1 });
  const values = ropeFrequencies(headDim, config.ropeFrequencies);
  layout.add(block.frequencies, [2, headDim], { kind: 'values', values });
}
