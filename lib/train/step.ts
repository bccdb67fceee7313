/** The front door: one optimisation step of CAPI, in the order the data flows. METHOD section 7. */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TrainingRun } from './training_run.js';

/**
 * Enqueues a step on the batch that was uploaded. Nothing here allocates or waits. `run.results` holds the numbers afterwards.
 */
export function trainStep(run: TrainingRun, iteration: number): void {
  // Learning rates, momentum and what drop-path is drawn from: all that an iteration has of its own but its batch.
  run.setIteration(iteration);
  run.step.run(() => {
    // Pixels to patches; which are seen and which are predicted follows from the samples' numbers.
    run.batch.prepare();
    run.drawDropPath();
    computeGradients(run);
    update(run);
  });
}

/** From patches and masks to the gradients of every parameter: four stages, which a benchmark times one by one. */
export function computeGradients(run: TrainingRun): void {
  teacherForward(run);
  assignTargets(run);
  studentForward(run);
  studentBackward(run);
}

/** The teacher sees every patch. Its backbone is an EMA of the student's; only its head learns. */
export function teacherForward(run: TrainingRun): void {
  run.teacher?.forward(run.batch.patches);
  ops.positionalCollapse({
    features: clusteredFeatures(run),
    positions: run.network.clustering.positions,
    registers: 0,
    result: run.results.collapse,
  });
}

/** Assignments, the clustering loss and its gradient, the targets [B·P, K] of the predicted positions. */
export function assignTargets(run: TrainingRun): void {
  const { batch, clustering, targets, results } = run;
  clustering.run(clusteredFeatures(run), batch.predict, targets, run.assigningWeights());
  ops.targetStatistics({ targets, entropy: results.targetEntropy, mass: results.mass });
}

/** The student encodes the visible patches and answers for the predicted positions. */
export function studentForward(run: TrainingRun): void {
  run.backbone.forward(run.studentInput);
  run.head.forward(run.backbone.predictions); // [B·P, K]
}

/** The student's loss, and from it the gradients of everything but the clustering head. */
export function studentBackward(run: TrainingRun): void {
  const { backbone, head, targets, results, config } = run;
  const gradLogits = head.logits;
  ops.softCrossEntropy({
    logits: head.logits,
    targets,
    temperature: config.capi.student_temp,
    loss: results.capiLoss,
    gradLogits,
  });
  head.backward(backbone.predictions, run.gradPredictions);
  backbone.backward(run.studentInput, run.gradPredictions);
}

/** [B·N, D] */
function clusteredFeatures({ teacher, batch }: TrainingRun): Tensor {
  return teacher?.features ?? batch.patches;
}

/** Averages over ranks, then optimizer, EMA and clustering optimizer; a non-finite loss or gradient skips all three. */
export function update(run: TrainingRun): void {
  const { gradients, clusteringGradients, communicator, results } = run;
  communicator.allReduceMean(gradients.flat);
  communicator.allReduceMean(clusteringGradients.flat);
  ops.zero({ x: results.nonfinite });
  for (const x of [results.capiLoss, results.clusteringLoss, gradients.flat, clusteringGradients.flat]) {
    ops.countNonfinite({ x, count: results.nonfinite, accumulate: true });
  }
  run.optimizer.step(results.nonfinite);
  run.clusteringOptimizer.step(results.nonfinite);
}
