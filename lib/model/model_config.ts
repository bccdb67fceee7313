/** The shape of the network: everything that decides which parameters exist and what a forward pass computes. */
import type { ComputeDtype } from '../tensor/dtype.js';

export type PositionKind = 'rope_coupled' | 'rope_axial' | 'learned' | 'none';
export type PredictorKind = 'cross' | 'self' | 'fused';

export interface ModelConfig {
  /** Side of a square patch, pixels. */
  readonly patchSize: number;
  /** Patches down and across: [rows, cols]. */
  readonly grid: readonly [number, number];
  /** D, of the encoder and the predictor. */
  readonly width: number;
  readonly numHeads: number;
  readonly encoderDepth: number;
  /** 0 with the fused predictor: its mask tokens pass through the encoder. */
  readonly predictorDepth: number;
  readonly predictor: PredictorKind;
  readonly registers: number;
  readonly registerCoordinates: 'edge' | 'zeros';
  readonly scaleRegistersToVisible: boolean;
  readonly position: PositionKind;
  /** Highest and lowest rotary frequency, turns over the image. */
  readonly ropeFrequencies: readonly [number, number];
  /** Stochastic depth: the share of images that each residual branch leaves out while training. */
  readonly encoderDropPath: number;
  readonly predictorDropPath: number;
  readonly normEps: number;
  /** Storage of weights and activations; sums are f32 whatever it is. */
  readonly dtype: ComputeDtype;
}

/** MLP hidden width over D. */
export const mlpRatio = 4;

export function numPositions(config: ModelConfig): number {
  return config.grid[0] * config.grid[1];
}

/** Values of one patch: 3 channels of patchSize². */
export function patchValues(config: ModelConfig): number {
  return 3 * config.patchSize ** 2;
}

/** Images that a residual branch keeps of `images`: METHOD section 4, with the published double arithmetic. */
export function keptImages(images: number, dropPath: number): number {
  return Math.max(Math.trunc(images * (1 - dropPath)), 1);
}
