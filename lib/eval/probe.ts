/**
 * How good frozen features are: mean patch features of labelled images, standardised, then multinomial logistic
 * regression and nearest neighbours.
 */
import { accuracy, fitStandardizer, meanOverPatches, standardize } from './features.js';
import { predictByNeighbours } from './knn.js';
import { fitLogisticRegression, predictLabels } from './logistic_regression.js';
import type { ProbeScores } from './report/data.js';
import type { VisionModel } from './vision_model.js';

export interface LabelledImages {
  /** u8 [images, size, size, 3] */
  readonly pixels: Uint8Array;
  /** [images] */
  readonly labels: Int32Array;
}

/** Inverse penalties that the table shows. */
export const probePenalties = [0.01, 0.1, 1] as const;

/** Accuracies on `test` of what was fitted to `train`. */
export async function probe(
  model: VisionModel,
  train: LabelledImages,
  test: LabelledImages,
): Promise<Required<ProbeScores>> {
  const trainFeatures = await meanPatchFeatures(model, train.pixels);
  const testFeatures = await meanPatchFeatures(model, test.pixels);
  const standardizer = fitStandardizer(trainFeatures);
  const fitted = standardize(trainFeatures, standardizer);
  const held = standardize(testFeatures, standardizer);
  const logistic = probePenalties.map((C) => {
    const regression = fitLogisticRegression(fitted, train.labels, { C });
    return { C, accuracy: accuracy(predictLabels(regression, held), test.labels) };
  });
  const neighbours = accuracy(predictByNeighbours(fitted, train.labels, held), test.labels);
  return { logistic, neighbours };
}

async function meanPatchFeatures(model: VisionModel, pixels: Uint8Array) {
  const { featureMap } = await model.forward(pixels);
  const { grid, width } = model.config;
  const positions = grid[0] * grid[1];
  const rows = featureMap.length / width;
  return meanOverPatches({ data: featureMap, rows, cols: width }, positions);
}
