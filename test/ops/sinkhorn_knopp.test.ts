import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { randomNormal } from '../support/random.js';
import {
  columnSums,
  type Problem,
  sinkhornReference,
  softCrossEntropyReference,
} from '../support/sinkhorn.js';
import { Tensor } from '../support/tensor.js';

const poison = (length: number) => new Float32Array(length).fill(Number.NaN);

interface Result {
  readonly loss: ArrayLike<number>;
  readonly gradient: ArrayLike<number>;
  readonly gradBias: ArrayLike<number>;
  readonly assignments: ArrayLike<number>;
}

/** The fused op with every output but targets. */
async function fused(problem: Problem, predTemp: number, dtype: 'f32' | 'bf16' = 'f32'): Promise<Result> {
  const { groups, rows, columns, iterations, targetTemp } = problem;
  const all = groups * rows;
  using logits = Tensor.from(problem.logits, [all, columns], dtype);
  using loss = Tensor.from([Number.NaN], [1, 1], 'f64');
  using gradBias = Tensor.from(poison(columns), [1, columns], 'f32');
  using assignments = Tensor.from(poison(all * columns), [all, columns], 'f32');
  ops.sinkhornKnoppLoss({
    logits,
    groups,
    iterations,
    targetTemp,
    predTemp,
    totalRows: all,
    loss,
    gradLogits: logits,
    gradBias,
    assignments,
  });
  return {
    loss: await loss.readFloats(),
    gradient: await logits.readFloats(),
    gradBias: await gradBias.readFloats(),
    assignments: await assignments.readFloats(),
  };
}

/** The phases over chunks of rows of one group, as a problem larger than memory is run. */
async function streamed(problem: Problem, predTemp: number, chunkRows: number): Promise<Result> {
  const { rows, columns, iterations, targetTemp } = problem;
  using logits = Tensor.from(problem.logits, [rows, columns], 'f32');
  const state = () => Tensor.from(poison(columns), [1, columns], 'f32');
  using columnMax = state();
  using columnScale = state();
  using columnSum = state();
  using gradBias = state();
  using rowScale = Tensor.from(poison(rows), [rows, 1], 'f32');
  using loss = Tensor.from([Number.NaN], [1, 1], 'f64');
  using assignments = Tensor.from(poison(rows * columns), [rows, columns], 'f32');
  const chunks = Array.from({ length: Math.ceil(rows / chunkRows) }, (_, chunk) => {
    const [begin, end] = [chunk * chunkRows, Math.min(rows, (chunk + 1) * chunkRows)];
    return {
      logits: logits.rowRange(begin, end),
      rowScale: rowScale.rowRange(begin, end).view([1, end - begin]),
      assignments: assignments.rowRange(begin, end),
      accumulate: chunk > 0,
    };
  });
  for (const { logits, accumulate } of chunks) {
    ops.sinkhornColumnMax({ logits, columnMax, groups: 1, accumulate });
  }
  for (let iteration = 0; iteration < iterations; iteration++) {
    const scale = iteration === 0 ? undefined : columnScale;
    for (const { logits, rowScale, accumulate } of chunks) {
      ops.sinkhornColumnSums({
        logits,
        columnMax,
        columnScale: scale,
        rowScale,
        columnSums: columnSum,
        groups: 1,
        targetTemp,
        accumulate,
      });
    }
    ops.sinkhornUpdateColumns({ columnSums: columnSum, columnScale, first: iteration === 0 });
  }
  for (const chunk of chunks) {
    ops.clusteringLoss({
      ...chunk,
      columnMax,
      columnScale,
      groups: 1,
      targetTemp,
      predTemp,
      totalRows: rows,
      loss,
      gradLogits: chunk.logits,
      gradBias,
    });
  }
  return {
    loss: await loss.readFloats(),
    gradient: await logits.readFloats(),
    gradBias: await gradBias.readFloats(),
    assignments: await assignments.readFloats(),
  };
}

function random(groups: number, rows: number, columns: number, seed: number): Problem {
  const logits = randomNormal(groups * rows * columns, seed);
  return { logits, groups, rows, columns, iterations: 3, targetTemp: 0.06 };
}

describe('sinkhornKnoppLoss', () => {
  afterEach(() => addon.setThreads(2));

  test.each([
    [1, 1, 1, 3],
    [1, 53, 97, 3],
    [3, 1, 40, 3],
    [5, 24, 41, 1],
    [5, 24, 40, 5],
    [2, 131, 64, 3],
    [7, 6, 272, 2],
    [1, 272, 19, 3],
  ])(
    'agrees with float64: %i groups of [%i, %i], %i iterations',
    async (groups, rows, columns, iterations) => {
      const problem = { ...random(groups, rows, columns, 7), iterations };
      const exact = sinkhornReference(problem);
      const expected = softCrossEntropyReference(problem.logits, exact, columns, 0.12);
      const result = await fused(problem, 0.12);
      expectClose(result.assignments, exact, { atol: 2e-6, rtol: 0 });
      expectClose(result.loss, [expected.loss], { atol: 1e-6, rtol: 2e-6 });
      const scale = 1 / (0.12 * groups * rows);
      expectClose(result.gradient, expected.gradient, { atol: 3e-6 * scale, rtol: 1e-5 });
      expectClose(result.gradBias, columnSums(expected.gradient, columns), { atol: 1e-5, rtol: 1e-5 });
    },
  );

  test('computes in f32 from bf16 logits: only the gradient is rounded', async () => {
    const problem = { ...random(3, 29, 106, 8) };
    const rounded = { ...problem, logits: roundToBf16(problem.logits) };
    const exact = sinkhornReference(rounded);
    const expected = softCrossEntropyReference(rounded.logits, exact, 106, 0.12);
    const result = await fused(rounded, 0.12, 'bf16');
    expectClose(result.assignments, exact, { atol: 2e-6, rtol: 0 });
    expectClose(result.loss, [expected.loss], { atol: 0, rtol: 2e-6 });
    expect(maxError(result.gradient, expected.gradient)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(expected.gradient), expected.gradient),
    );
    expectClose(result.gradBias, columnSums(expected.gradient, 106), { atol: 1e-6, rtol: 1e-5 });
  });

  test('leaves a row whose every entry underflows without mass, loss and gradient', async () => {
    const [rows, columns] = [6, 20];
    const logits = randomNormal(rows * columns, 9);
    for (let k = 0; k < columns; k++) logits[2 * columns + k] = -300 - k;
    const result = await fused({ logits, groups: 1, rows, columns, iterations: 3, targetTemp: 0.06 }, 0.12);
    const row = (values: ArrayLike<number>) => Array.from(values).slice(2 * columns, 3 * columns);
    expect(row(result.assignments)).toEqual(new Array(columns).fill(0));
    expect(row(result.gradient).every((g) => g === 0)).toBe(true);
    const others = Float32Array.from(logits).fill(0, 2 * columns, 3 * columns);
    const expected = softCrossEntropyReference(others, result.assignments, columns, 0.12);
    expectClose(result.loss, [expected.loss], { atol: 0, rtol: 2e-6 });
  });

  test('shifts the argument of the exponential by 50 in zero iterations', async () => {
    const problem = { ...random(2, 4, 6, 10), iterations: 0 };
    const { assignments } = await fused(problem, 0.12);
    expectClose(assignments, sinkhornReference(problem), { atol: 0, rtol: 5e-6 });
  });

  test('passes a NaN on', async () => {
    const problem = random(1, 5, 9, 11);
    (problem.logits as Float32Array)[12] = Number.NaN;
    const result = await fused(problem, 0.12);
    expect(result.loss[0]).toBeNaN();
    expect(Array.from(result.gradBias).some(Number.isNaN)).toBe(true);
  });

  test('gives the same bytes with 1, 2 and 3 threads', async () => {
    for (const problem of [random(3, 150, 53, 12), random(9, 40, 53, 13), random(1, 300, 130, 14)]) {
      addon.setThreads(1);
      const one = await fused(problem, 0.12);
      for (const threads of [2, 3]) {
        addon.setThreads(threads);
        expect(await fused(problem, 0.12)).toEqual(one);
      }
    }
  });

  test('fills the selected targets only, from chunks of positions', async () => {
    const [images, positions, columns] = [5, 4, 33];
    const problem = random(positions, images, columns, 15);
    const { assignments } = await fused(problem, 0.12);
    const predict = [2 * positions + 3, 0 * positions + 1, 4 * positions + 0]; // image · positions + position
    using tPredict = Tensor.from(predict, [1, 3], 'i32');
    using targetRows = Tensor.from(new Int32Array(20).fill(7), [1, 20], 'i32');
    using targets = Tensor.from(poison(4 * columns), [4, columns], 'f32');
    using half = Tensor.from(poison(4 * columns), [4, columns], 'bf16');
    using logits = Tensor.from(problem.logits, [20, columns], 'f32');
    using loss = Tensor.from([Number.NaN], [1, 1], 'f64');
    ops.targetRows({ predict: tPredict, targetRows, images, positions });
    const shared = { targetTemp: 0.06, predTemp: 0.12, totalRows: 20 };
    for (const begin of [0, 2]) {
      const [first, last] = [begin * images, (begin + 2) * images];
      const chunk = {
        logits: logits.rowRange(first, last),
        targetRows: targetRows.columnRange(first, last),
        groups: 2,
        ...shared,
      };
      ops.sinkhornKnoppLoss({ ...chunk, targets, loss, accumulate: begin > 0 });
      ops.sinkhornKnoppLoss({ ...chunk, targets: half });
    }
    const [read, readHalf] = [await targets.readFloats(), await half.readFloats()];
    predict.forEach((patch, i) => {
      const row = (patch % positions) * images + Math.floor(patch / positions);
      const expected = Array.from(assignments).slice(row * columns, (row + 1) * columns);
      expect(Array.from(read.slice(i * columns, (i + 1) * columns))).toEqual(expected);
      expect(readHalf.slice(i * columns, (i + 1) * columns)).toEqual(roundToBf16(expected));
    });
    expect(Array.from(read.slice(3 * columns)).every(Number.isNaN)).toBe(true);
    const whole = softCrossEntropyReference(problem.logits, assignments, columns, 0.12);
    expectClose(await loss.readFloats(), [whole.loss], { atol: 0, rtol: 2e-6 });
  });

  test('refuses groups that do not divide the rows, half a pair of targets and a bad temperature', () => {
    using logits = Tensor.zeros([6, 8], 'f32');
    using loss = Tensor.zeros([1, 1], 'f64');
    using targets = Tensor.zeros([2, 8], 'f32');
    using gradLogits = Tensor.zeros([6, 8], 'bf16');
    const good = { logits, loss, groups: 2, targetTemp: 0.06, predTemp: 0.12, totalRows: 6 };
    const invalid = expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' });
    expect(() => ops.sinkhornKnoppLoss({ ...good, groups: 4 })).toThrow(
      '[sinkhorn_knopp_loss] Expected groups to divide the rows of logits but received 4 groups of [6, 8]',
    );
    expect(() => ops.sinkhornKnoppLoss({ ...good, groups: 0 })).toThrow(invalid);
    expect(() => ops.sinkhornKnoppLoss({ ...good, targets })).toThrow(invalid);
    expect(() => ops.sinkhornKnoppLoss({ ...good, targetTemp: 0 })).toThrow(invalid);
    expect(() => ops.sinkhornKnoppLoss({ ...good, predTemp: Number.NaN })).toThrow(invalid);
    expect(() => ops.sinkhornKnoppLoss({ ...good, iterations: -1 })).toThrow(invalid);
    expect(() => ops.sinkhornKnoppLoss({ ...good, gradLogits })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }),
    );
    expect(() => ops.sinkhornKnoppLoss({ ...good, loss: targets })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});

describe('the phases of Sinkhorn-Knopp', () => {
  test('are the fused op, to the byte, when chunks are those of the op', async () => {
    const problem = random(1, 300, 61, 16);
    expect(await streamed(problem, 0.12, 300)).toEqual(await fused(problem, 0.12));
  });

  test('give the same problem from uneven chunks', async () => {
    const problem = random(1, 106, 61, 17);
    const exact = sinkhornReference(problem);
    const result = await streamed(problem, 0.12, 29);
    const expected = softCrossEntropyReference(problem.logits, exact, 61, 0.12);
    expectClose(result.assignments, exact, { atol: 2e-6, rtol: 0 });
    expectClose(result.loss, [expected.loss], { atol: 0, rtol: 2e-6 });
    expectClose(result.gradBias, columnSums(expected.gradient, 61), { atol: 1e-6, rtol: 1e-5 });
  });
});
