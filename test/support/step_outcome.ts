/** Training steps on random batches, to be compared between backends and ways to run a step. */
import type { Config } from '../../lib/config/schema.js';
import type { Backend } from '../../lib/native/addon.js';
import { computeGradients, trainStep, update } from '../../lib/train/step.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { randomBatch } from './tiny_run.js';

export interface StepOutcome {
  /** CAPI loss and clustering loss of each step. */
  readonly losses: number[];
  readonly weights: Float32Array;
}

export interface Steps {
  readonly backend: Backend;
  readonly steps: number;
  /** Default: trainStep, which replays a graph on CUDA. */
  readonly step?: (run: TrainingRun, iteration: number) => void;
}

/** Of a new run; every loss and gradient must be finite. */
export async function stepOutcome(
  config: Config,
  { backend, steps, step = trainStep }: Steps,
): Promise<StepOutcome> {
  using run = new TrainingRun(config, { backend });
  run.start();
  const losses: number[] = [];
  for (let iteration = 0; iteration < steps; iteration++) {
    run.batch.upload(randomBatch(config, 10 + iteration));
    step(run, iteration);
    const { capiLoss, clusteringLoss, nonfinite } = run.results;
    expect(await nonfinite.readFloats()).toEqual(new Float64Array([0]));
    for (const loss of [capiLoss, clusteringLoss]) losses.push(...(await loss.readFloats()));
  }
  return { losses, weights: (await run.student.flat.read()) as Float32Array };
}

/** The ops of trainStep one by one. */
export function stepByOps(run: TrainingRun, iteration: number): void {
  run.setIteration(iteration);
  run.batch.prepare();
  run.drawDropPath();
  computeGradients(run);
  update(run);
}

/** Losses and weights, to the bit. */
export function expectSameBits(actual: StepOutcome, expected: StepOutcome): void {
  expect(actual.losses).toEqual(expected.losses);
  expect(Buffer.from(actual.weights.buffer).equals(Buffer.from(expected.weights.buffer))).toBe(true);
}
