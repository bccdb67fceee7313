/** The sizes that the ops of one step have, by model. */
import { runShape } from '../../lib/config/shape.js';
import { keptImages } from '../../lib/model/model_config.js';
import { type SizeName, sizeConfig, sizeTitles } from '../step/sizes.js';

export interface Shapes {
  readonly title: string;
  /** D, H, K, side of a patch and of the image, patches a side */
  readonly width: number;
  readonly heads: number;
  readonly clusters: number;
  readonly patch: number;
  readonly image: number;
  readonly grid: number;
  /** B, and what drop path keeps of it */
  readonly images: number;
  readonly kept: number;
  /** N, V, P, R an image */
  readonly positions: number;
  readonly visible: number;
  readonly predicted: number;
  readonly registers: number;
  readonly masked: number;
  /** Tokens an image has: teacher R + N, student R + V */
  readonly teacherTokens: number;
  readonly studentTokens: number;
  readonly predictorDepth: number;
}

export function shapesOf(name: SizeName): Shapes {
  const config = sizeConfig(name, 'f32');
  const { grid, positions, registers, masked, predicted, visible, encoder, predictor, ...shape } =
    runShape(config);
  const images = config.optim.batch_size_per_gpu;
  return {
    title: sizeTitles[name],
    width: encoder.embedDim,
    heads: encoder.numHeads,
    clusters: shape.numClusters,
    patch: shape.patchSize,
    image: shape.imageSize,
    grid,
    images,
    kept: keptImages(images, encoder.dropPathRate),
    positions,
    visible,
    predicted,
    registers,
    masked,
    teacherTokens: registers + positions,
    studentTokens: registers + visible,
    predictorDepth: predictor.depth,
  };
}
