/**
 * Every parameter's gradient against central differences of the loss: finds what is wired wrongly between ops, each of
 * which has tests of its own. The loss is of f32 forward passes, so differences are extrapolated from two step lengths and
 * taken along whole tensors, where they stand far above rounding.
 */
import { resolveConfig } from '../../lib/config/load.js';
import { clusteringNames } from '../../lib/loss/clustering_head.js';
import { ops } from '../../lib/tensor/ops.js';
import type { Parameter } from '../../lib/tensor/parameters.js';
import { computeGradients } from '../../lib/train/step.js';
import { TrainingRun } from '../../lib/train/training_run.js';
import { TemporaryFolder } from '../support/images.js';
import { randomNormal } from '../support/random.js';
import { columnSums, sinkhornReference, softCrossEntropyReference } from '../support/sinkhorn.js';
import { randomBatch, tinyConfig } from '../support/tiny_run.js';

/** A run with weights away from their start, where norms are 1 and heads symmetric, and a batch on the device. */
function startRun(overrides: readonly string[]): TrainingRun {
  using folder = new TemporaryFolder();
  const config = tinyConfig(folder, ['optim.rope_lr_mult=1', 'capi.student_temp=0.3', ...overrides]);
  const run = new TrainingRun(resolveConfig(config).config);
  run.start();
  run.batch.upload(randomBatch(config, 3));
  return run;
}

async function disturb(run: TrainingRun): Promise<Float32Array> {
  const weights = (await run.student.flat.read()) as Float32Array;
  const noise = randomNormal(weights.length, 5);
  for (const { offset, size, name } of run.layout.parameters) {
    const values = weights.subarray(offset, offset + size);
    // Tokens start so small that the first norm would bend the loss sharply.
    const scale = 0.3 * rms(values) + (/token|registers|position|bias/.test(name) ? 0.3 : 0);
    for (let i = 0; i < size; i++) values[i] = (values[i] as number) + scale * (noise[offset + i] as number);
  }
  run.student.flat.write(weights);
  return weights;
}

function rms(values: ArrayLike<number>): number {
  return Math.sqrt(dot(values, values) / values.length);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/** The loss of the student with these weights; batch, masks and targets stay those of the last computeGradients. */
async function lossAt(run: TrainingRun, weights: Float32Array): Promise<number> {
  const { backbone, head, targets, results, config } = run;
  run.student.flat.write(weights);
  backbone.forward(run.studentInput);
  head.forward(backbone.predictions);
  ops.softCrossEntropy({
    logits: head.logits,
    targets,
    temperature: config.capi.student_temp,
    loss: results.capiLoss,
    gradLogits: head.logits,
  });
  return (await results.capiLoss.readFloats())[0] as number;
}

/** Rounding of the f32 forward pass in the mean loss. */
const lossNoise = 1e-6;

/** Compares the derivative along `direction`, a unit vector over one parameter, with grad · direction. */
async function checkDirection(
  run: TrainingRun,
  weights: Float32Array,
  parameter: Parameter,
  grad: Float32Array,
  direction: Float32Array,
): Promise<string[]> {
  const { name, offset, size } = parameter;
  const values = weights.subarray(offset, offset + size);
  const norm = Math.sqrt(dot(grad, grad));
  // Short beside the parameter, beside the loss, and, for frequencies, beside a turn.
  const step = Math.min(0.004 * Math.sqrt(size) * rms(values), 0.01 / norm, 0.05);
  const difference = async (h: number) => {
    const moved = weights.slice();
    const lossesAt: number[] = [];
    for (const sign of [1, -1]) {
      for (let i = 0; i < size; i++) {
        moved[offset + i] = (values[i] as number) + sign * h * (direction[i] as number);
      }
      lossesAt.push(await lossAt(run, moved));
    }
    return ((lossesAt[0] as number) - (lossesAt[1] as number)) / (2 * h);
  };
  if (lossNoise / step > 0.1 * norm) return [`${name}: a gradient of ${norm} is too small for this check`];
  const numeric = (4 * (await difference(step)) - (await difference(2 * step))) / 3;
  const analytic = dot(grad, direction);
  const tolerance = 0.02 * norm + lossNoise / step;
  if (Math.abs(numeric - analytic) <= tolerance) return [];
  return [`${name}: ${analytic} instead of ${numeric} ± ${tolerance} along a vector, |gradient| ${norm}`];
}

function unit(values: Float32Array): Float32Array {
  const norm = Math.sqrt(dot(values, values));
  return values.map((value) => value / norm);
}

/** Parameters without any influence in a configuration. */
function isIdle(name: string, run: TrainingRun): boolean {
  const { position, predictor } = run.network.model;
  if (name.endsWith('rope.freqs')) return !position.startsWith('rope');
  return predictor === 'fused' && name === 'backbone.decoder.position_embed';
}

const predictors = ['cross', 'self', 'fused'];
const positions = ['rope_coupled', 'rope_axial', 'learned', 'none'];
const registers = [4, 0];
const heads = ['linear', 'mlp_head'];
/** 4 of 6 images kept: any two branches share some, so every parameter has an influence. */
const dropPaths = [0.2, 0];

/** Every pair of predictor and position, with the others so that each value meets each value. */
const cases = predictors.flatMap((predictor, i) =>
  positions.flatMap((position, j) =>
    [0, 1].map((k) => ({
      predictor,
      position,
      registers: registers[(i + j + k) % 2],
      head: heads[(j + k) % 2],
      dropPath: dropPaths[(i + k) % 2],
    })),
  ),
);

test.each(cases)(
  'the student: $predictor, $position, $registers registers, $head, drop path $dropPath',
  async ({ predictor, position, registers: count, head, dropPath }) => {
    using run = startRun([
      `model.predictor=${predictor}`,
      `model.position=${position}`,
      `model.n_registers=${count}`,
      `capi.loss_variant=${head}`,
      `model.transformers_kwargs.drop_path_rate=${dropPath}`,
      'model.encoder_kwargs.depth=2',
    ]);
    const weights = await disturb(run);
    run.batch.prepare();
    run.drawDropPath();
    computeGradients(run);
    const gradients = (await run.gradients.flat.read()) as Float32Array;

    const misses: string[] = [];
    for (const [i, parameter] of run.layout.parameters.entries()) {
      const { name, offset, size } = parameter;
      const grad = gradients.subarray(offset, offset + size);
      if (isIdle(name, run)) {
        expect(rms(grad)).toBe(0);
        continue;
      }
      for (const direction of [unit(grad.slice()), unit(randomNormal(size, i))]) {
        misses.push(...(await checkDirection(run, weights, parameter, grad, direction)));
      }
    }
    expect(misses).toEqual([]);
  },
);

describe('the clustering head', () => {
  const cases = [true, false].flatMap((positionwise) =>
    [true, false].map((bias) => ({ positionwise, bias })),
  );

  // Assignments do not move with the logits in this gradient, so differences of the loss are no reference: float64 is.
  test.each(cases)('positionwise $positionwise, bias $bias', async ({ positionwise, bias }) => {
    using run = startRun([
      `capi.clustering_kwargs.positionwise_sk=${positionwise}`,
      `capi.clustering_kwargs.bias=${bias}`,
    ]);
    const { images: B, positions: N, width: D, numClusters: K } = run.network.clustering;
    const { clustering_kwargs: settings } = run.config.capi;
    run.clusteringWeights.flat.write(randomNormal(run.clusteringLayout.size, 11));
    run.batch.prepare();
    run.teacher?.forward(run.batch.patches);
    const features = await run.teacher!.features.readFloats(); // [B·N, D]
    run.clustering.run(run.teacher!.features, run.batch.predict, run.targets, run.assigningWeights());

    const weight = await run.clusteringWeights.matrix(clusteringNames.weight).readFloats();
    const offsets = bias ? await run.clusteringWeights.matrix(clusteringNames.bias).readFloats() : [];
    // Row t·B + b belongs to position t of image b.
    const rowOf = (row: number) => (row % B) * N + Math.floor(row / B);
    const inputs = Array.from({ length: N * B }, (_, row) => {
      const z = features.subarray(rowOf(row) * D, (rowOf(row) + 1) * D);
      const norm = Math.max(Math.sqrt(dot(z, z)), 1e-7);
      return Float64Array.from(z, (value) => value / norm);
    });
    const logits = inputs.flatMap((z) =>
      Array.from({ length: K }, (_, k) => dot(weight.subarray(k * D, (k + 1) * D), z) + (offsets[k] ?? 0)),
    );
    const groups = positionwise ? N : 1;
    const assignments = sinkhornReference({
      logits,
      groups,
      rows: (N * B) / groups,
      columns: K,
      iterations: settings.n_sk_iter,
      targetTemp: settings.target_temp,
    });
    const { loss, gradient } = softCrossEntropyReference(logits, assignments, K, settings.pred_temp);
    const gradWeight = new Float64Array(K * D);
    for (const [row, z] of inputs.entries()) {
      for (let k = 0; k < K; k++) {
        for (let d = 0; d < D; d++) {
          (gradWeight[k * D + d] as number) += (gradient[row * K + k] as number) * (z[d] as number);
        }
      }
    }

    expect((await run.results.clusteringLoss.readFloats())[0]).toBeCloseTo(loss, 4);
    const close = async (name: string, expected: Float64Array) => {
      const actual = await run.clusteringGradients.matrix(name).readFloats();
      const error = expected.map((value, i) => value - (actual[i] as number));
      expect(rms(error)).toBeLessThan(1e-3 * rms(expected));
    };
    await close(clusteringNames.weight, gradWeight);
    if (bias) await close(clusteringNames.bias, columnSums(gradient, K));

    const predict = (await run.batch.predict.read()) as Int32Array;
    const targets = await run.targets.readFloats();
    const wanted = Array.from(predict).flatMap((index) => {
      const row = (index % N) * B + Math.floor(index / N);
      return Array.from(assignments.subarray(row * K, (row + 1) * K));
    });
    for (const [i, value] of wanted.entries()) expect(targets[i]).toBeCloseTo(value, 3);
  });
});
