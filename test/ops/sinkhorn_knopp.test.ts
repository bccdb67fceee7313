import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import {
  columnSums,
  type Problem,
  sinkhornReference,
  softCrossEntropyReference,
} from '../support/sinkhorn.js';
import { backend, Tensor } from '../support/tensor.js';

const poison = (length: number) => new Float32Array(length).fill(Number.NaN);

interface Result {
  readonly loss: ArrayLike<number>;
  readonly gradient: ArrayLike<number>;
  readonly gradBias: ArrayLike<number>;
  readonly assignments: ArrayLike<number>;
}

type LogitsDtype = 'f32' | 'bf16';

/** Logits that begin `offset` elements into their memory. */
function tensorOf(
  { logits, groups, rows, columns }: Problem,
  dtype: LogitsDtype = 'f32',
  offset = 0,
): Tensor {
  const { length } = logits;
  const values = new Float32Array(offset + length);
  values.set(logits, offset);
  const all = Tensor.from(values, [offset + length, 1], dtype);
  return all.rowRange(offset, offset + length).view([groups * rows, columns]);
}

/** The fused op with every output but targets, on logits that become their gradient. */
function runFused(problem: Problem, predTemp: number, logits: Tensor) {
  const { groups, rows, columns, iterations, targetTemp } = problem;
  const loss = poisoned([1, 1], 'f64');
  const gradBias = poisoned([1, columns], 'f32');
  const assignments = poisoned([groups * rows, columns], 'f32');
  ops.sinkhornKnoppLoss({
    logits,
    groups,
    iterations,
    targetTemp,
    predTemp,
    totalRows: groups * rows,
    loss,
    gradLogits: logits,
    gradBias,
    assignments,
  });
  return { loss, gradient: logits, gradBias, assignments };
}

async function read(tensors: Readonly<Record<keyof Result, Tensor>>): Promise<Result> {
  const result = {
    loss: await tensors.loss.readFloats(),
    gradient: await tensors.gradient.readFloats(),
    gradBias: await tensors.gradBias.readFloats(),
    assignments: await tensors.assignments.readFloats(),
  };
  for (const tensor of Object.values(tensors)) tensor[Symbol.dispose]();
  return result;
}

function fused(problem: Problem, predTemp: number, dtype: LogitsDtype = 'f32', offset = 0): Promise<Result> {
  return read(runFused(problem, predTemp, tensorOf(problem, dtype, offset)));
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
  test.each([
    [1, 1, 1, 3],
    [1, 53, 97, 3],
    [3, 1, 40, 3],
    [5, 24, 41, 1],
    [5, 24, 40, 5],
    [2, 131, 64, 3],
    [7, 6, 272, 2],
    [1, 272, 19, 3],
    [1, 660, 8, 2],
    [1, 2, 4099, 2], // more columns than the threads of a block take at once: elements, vectors
    [1, 2, 8200, 2],
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

  test.each([
    [3, 29, 106, 0],
    [3, 29, 104, 0],
    [3, 29, 104, 1],
    [1, 2, 16384, 0], // as many columns as the threads of a block take at once, more
    [1, 2, 16392, 0],
  ])(
    'computes in f32 from bf16 logits, %i groups of [%i, %i] that begin at %i: only the gradient is rounded',
    async (groups, rows, columns, offset) => {
      const problem = { ...random(groups, rows, columns, 8) };
      const rounded = { ...problem, logits: roundToBf16(problem.logits) };
      const exact = sinkhornReference(rounded);
      const expected = softCrossEntropyReference(rounded.logits, exact, columns, 0.12);
      const result = await fused(rounded, 0.12, 'bf16', offset);
      expectClose(result.assignments, exact, { atol: 2e-6, rtol: 0 });
      // Sums of long rows in f32.
      expectClose(result.loss, [expected.loss], { atol: 0, rtol: columns > 1000 ? 1e-5 : 2e-6 });
      expect(maxError(result.gradient, expected.gradient)).toBeLessThanOrEqual(
        2 * maxError(roundToBf16(expected.gradient), expected.gradient),
      );
      expectClose(result.gradBias, columnSums(expected.gradient, columns), { atol: 1e-6, rtol: 1e-5 });
    },
  );

  test.each([20, 24])(
    'leaves a row of %i underflowed entries without mass, loss and gradient',
    async (columns) => {
      const rows = 6;
      const logits = randomNormal(rows * columns, 9);
      for (let k = 0; k < columns; k++) logits[2 * columns + k] = -300 - k;
      const result = await fused({ logits, groups: 1, rows, columns, iterations: 3, targetTemp: 0.06 }, 0.12);
      const row = (values: ArrayLike<number>) => Array.from(values).slice(2 * columns, 3 * columns);
      expect(row(result.assignments)).toEqual(new Array(columns).fill(0));
      expect(row(result.gradient).every((g) => g === 0)).toBe(true);
      const others = Float32Array.from(logits).fill(0, 2 * columns, 3 * columns);
      const expected = softCrossEntropyReference(others, result.assignments, columns, 0.12);
      expectClose(result.loss, [expected.loss], { atol: 0, rtol: 2e-6 });
    },
  );

  test('shifts the argument of the exponential by 50 in zero iterations', async () => {
    const problem = { ...random(2, 4, 6, 10), iterations: 0 };
    const { assignments } = await fused(problem, 0.12);
    expectClose(assignments, sinkhornReference(problem), { atol: 0, rtol: 5e-6 });
  });

  test.each([9, 16])('passes a NaN among %i columns on', async (columns) => {
    const problem = random(1, 5, columns, 11);
    (problem.logits as Float32Array)[12] = Number.NaN;
    const result = await fused(problem, 0.12);
    expect(result.loss[0]).toBeNaN();
    expect(Array.from(result.gradBias).some(Number.isNaN)).toBe(true);
  });

  // Groups of one chunk and of several, fewer and more than threads; on CUDA small ones, of elements and of vectors.
  const problems =
    backend === 'cpu'
      ? [random(3, 150, 53, 12), random(9, 40, 53, 13), random(1, 300, 130, 14)]
      : [random(3, 11, 53, 12), random(2, 9, 560, 13), random(1, 9, 560, 14)];
  describe.each(problems)('$groups groups of [$rows, $columns]', (problem) => {
    testSameBytes(() => Object.values(runFused(problem, 0.12, tensorOf(problem))));
  });

  test.each([33, 40])(
    'fills the selected targets only, from chunks of positions: %i columns',
    async (columns) => {
      const [images, positions] = [5, 4];
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
        const target = read.slice(i * columns, (i + 1) * columns);
        const expected = Array.from(assignments).slice(row * columns, (row + 1) * columns);
        expectClose(target, expected, { atol: 0, rtol: 2e-6 });
        expect(readHalf.slice(i * columns, (i + 1) * columns)).toEqual(roundToBf16(target));
      });
      expect(Array.from(read.slice(3 * columns)).every(Number.isNaN)).toBe(true);
      const whole = softCrossEntropyReference(problem.logits, assignments, columns, 0.12);
      expectClose(await loss.readFloats(), [whole.loss], { atol: 0, rtol: 2e-6 });
    },
  );

  test.each([33, 40])('passes over target rows that do not exist: %i columns', async (columns) => {
    const problem = random(1, 4, columns, 19);
    const { assignments } = await fused(problem, 0.12);
    using logits = tensorOf(problem);
    using targetRows = Tensor.from([2, -5, 1, 2 ** 31 - 1], [1, 4], 'i32');
    using targets = poisoned([2, columns], 'f32');
    ops.sinkhornKnoppLoss({
      logits,
      groups: 1,
      targetRows,
      targets,
      targetTemp: 0.06,
      predTemp: 0.12,
      totalRows: 4,
    });
    const read = await targets.readFloats();
    expect(Array.from(read.slice(0, columns)).every(Number.isNaN)).toBe(true);
    expect(read.slice(columns)).toEqual(Float32Array.from(assignments).slice(2 * columns, 3 * columns));
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
  const rows = backend === 'cpu' ? 300 : 30;
  test.each([61, 64])(
    'are the fused op, to the byte, when chunks are those of the op: %i columns',
    async (columns) => {
      const problem = random(1, rows, columns, 16);
      expect(await streamed(problem, 0.12, rows)).toEqual(await fused(problem, 0.12));
    },
  );

  test('need no column scales when there are no iterations', async () => {
    const problem = { ...random(2, 5, 24, 18), iterations: 0 };
    using logits = tensorOf(problem);
    using columnMax = poisoned([2, 24], 'f32');
    const loss = poisoned([1, 1], 'f64');
    const gradBias = poisoned([1, 24], 'f32');
    const assignments = poisoned([10, 24], 'f32');
    const gradLogits = poisoned([10, 24], 'f32');
    ops.sinkhornColumnMax({ logits, columnMax, groups: 2 });
    ops.clusteringLoss({
      logits,
      columnMax,
      groups: 2,
      targetTemp: 0.06,
      predTemp: 0.12,
      totalRows: 10,
      loss,
      gradLogits,
      gradBias,
      assignments,
    });
    const result = await read({ loss, gradient: gradLogits, gradBias, assignments });
    expect(result).toEqual(await fused(problem, 0.12));
  });

  test.each([61, 64])('give the same problem from uneven chunks: %i columns', async (columns) => {
    const problem = random(1, 106, columns, 17);
    const exact = sinkhornReference(problem);
    const result = await streamed(problem, 0.12, 29);
    const expected = softCrossEntropyReference(problem.logits, exact, columns, 0.12);
    expectClose(result.assignments, exact, { atol: 2e-6, rtol: 0 });
    expectClose(result.loss, [expected.loss], { atol: 0, rtol: 2e-6 });
    expectClose(result.gradBias, columnSums(expected.gradient, columns), { atol: 1e-6, rtol: 1e-5 });
  });
});
