// The probes against scikit-learn's numbers (test/fixtures/eval_sklearn.py made them).
import { readFileSync } from 'node:fs';
import {
  accuracy,
  type FeatureMatrix,
  fitStandardizer,
  meanOverPatches,
  standardize,
} from '../../lib/eval/features.js';
import { predictByNeighbours } from '../../lib/eval/knn.js';
import { fitLogisticRegression, predictLabels } from '../../lib/eval/logistic_regression.js';

interface Fixture {
  train: number[][];
  test: number[][];
  train_labels: number[];
  test_labels: number[];
  mean: number[];
  scale: number[];
  regressions: {
    C: number;
    labels: number[];
    weights: number[];
    intercepts: number[];
    predicted: number[];
  }[];
  neighbours: number[];
}

const fixture: Fixture = JSON.parse(
  readFileSync(new URL('../fixtures/eval_sklearn.json', import.meta.url), 'utf8'),
);

function matrix(rows: number[][]): FeatureMatrix {
  return { data: Float64Array.from(rows.flat()), rows: rows.length, cols: rows[0]!.length };
}

function expectClose(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs(actual[i]! - value)).toBeLessThanOrEqual(tolerance * (1 + Math.abs(value)));
  });
}

const standardizer = fitStandardizer(matrix(fixture.train));
const train = standardize(matrix(fixture.train), standardizer);
const test = standardize(matrix(fixture.test), standardizer);

describe('standardisation', () => {
  it('uses mean and population deviation of the training rows', () => {
    expectClose(standardizer.mean, fixture.mean, 1e-12);
    expectClose(standardizer.scale, fixture.scale, 1e-12);
  });

  it('leaves a constant column at zero', () => {
    const constant = { data: Float32Array.of(0.1, 1, 0.1, 2, 0.1, 3), rows: 3, cols: 2 };
    const { data } = standardize(constant, fitStandardizer(constant));
    expect([data[0], data[2], data[4]]).toEqual([0, 0, 0]);
    expect(data.every(Number.isFinite)).toBe(true);
  });

  it('averages the patches of each image', () => {
    const features = { data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), rows: 4, cols: 2 };
    expect([...meanOverPatches(features, 2).data]).toEqual([2, 3, 6, 7]);
  });
});

describe('logistic regression', () => {
  it.each(fixture.regressions)('finds the minimum that scikit-learn finds at C = $C', (expected) => {
    const model = fitLogisticRegression(train, expected.labels, { C: expected.C, tolerance: 1e-9 });
    expect(model.converged).toBe(true);
    expectClose(model.weights, expected.weights, 1e-5);
    expectClose(model.intercepts, expected.intercepts, 1e-5);
    expect([...predictLabels(model, test)]).toEqual(expected.predicted);
  });

  it('stops at the iterations allowed and says so', () => {
    const model = fitLogisticRegression(train, fixture.train_labels, { C: 1, maxIterations: 2 });
    expect(model).toMatchObject({ iterations: 2, converged: false });
  });

  it('separates clusters of the size the demo has in seconds', () => {
    const rows = 5000;
    const cols = 96;
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32 - 0.5;
    };
    const centers = Float64Array.from({ length: 10 * cols }, () => random());
    const labels = Int32Array.from({ length: rows }, (_, i) => i % 10);
    const data = Float32Array.from(
      { length: rows * cols },
      (_, at) => centers[(Math.floor(at / cols) % 10) * cols + (at % cols)]! + 2 * random(),
    );
    const raw = { data, rows, cols };
    const features = standardize(raw, fitStandardizer(raw));
    const start = performance.now();
    const model = fitLogisticRegression(features, labels, { C: 1 });
    expect(performance.now() - start).toBeLessThan(20_000); // 1 s alone on a core
    expect(accuracy(predictLabels(model, features), labels)).toBeGreaterThan(0.9);
  });

  it.each([
    ['one class', { C: 1 }, fixture.train_labels.map(() => 3)],
    ['C of zero', { C: 0 }, fixture.train_labels],
    ['too few labels', { C: 1 }, [1, 2]],
  ])('refuses %s', (_, options, labels) => {
    expect(() => fitLogisticRegression(train, labels, options)).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});

describe('nearest neighbours', () => {
  it('votes as scikit-learn does with cosine distance', () => {
    expect([...predictByNeighbours(train, fixture.train_labels, test, 10)]).toEqual(fixture.neighbours);
  });

  it('finds a row itself with one neighbour, whatever its length', () => {
    const doubled = { ...train, data: train.data.map((value) => 2 * value) };
    expect(accuracy(predictByNeighbours(train, fixture.train_labels, doubled, 1), fixture.train_labels)).toBe(
      1,
    );
  });

  it('gives a tie to the smallest label', () => {
    const two = { data: Float32Array.of(1, 0, 0, 1), rows: 2, cols: 2 };
    expect([
      ...predictByNeighbours(two, [8, 4], { data: Float32Array.of(1, 0), rows: 1, cols: 2 }, 2),
    ]).toEqual([4]);
  });

  it('refuses more neighbours than rows', () => {
    expect(() => predictByNeighbours(train, fixture.train_labels, test, 61)).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});
