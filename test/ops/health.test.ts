import { ops } from '../../lib/tensor/ops.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

function statisticsReference(targets: ArrayLike<number>, columns: number) {
  const rows = targets.length / columns;
  const mass = new Float64Array(columns);
  let entropy = 0;
  for (let i = 0; i < targets.length; i++) {
    const a = targets[i] as number;
    (mass[i % columns] as number) += a / rows;
    if (a > 0) entropy -= (a * Math.log(a)) / rows;
  }
  return { entropy, mass };
}

type FloatDtype = 'f32' | 'bf16';

function enqueueStatistics(values: ArrayLike<number>, columns: number, dtype: FloatDtype = 'f32') {
  using targets = Tensor.from(values, [values.length / columns, columns], dtype);
  const entropy = poisoned([1, 1], 'f32');
  const mass = poisoned([1, columns], 'f32');
  ops.targetStatistics({ targets, entropy, mass });
  return [entropy, mass] as const;
}

async function statistics(values: ArrayLike<number>, columns: number, dtype: FloatDtype = 'f32') {
  const [entropy, mass] = enqueueStatistics(values, columns, dtype);
  const result = { entropy: await entropy.readFloats(), mass: await mass.readFloats() };
  for (const tensor of [entropy, mass]) tensor[Symbol.dispose]();
  return result;
}

describe('targetStatistics', () => {
  test.each([
    [1, 1],
    [3, 53],
    [97, 106],
    [272, 40],
    [3, 1096], // more columns than a block takes
  ])('agrees with float64 at [%i, %i], zeros and subnormals included', async (rows, columns) => {
    const targets = randomNormal(rows * columns, 1).map((x, i) =>
      i % 7 === 0 ? 0 : i % 11 === 0 ? 1e-42 : Math.exp(2 * x) / columns,
    );
    for (const dtype of ['f32', 'bf16'] as const) {
      const values = dtype === 'bf16' ? roundToBf16(targets) : targets;
      const expected = statisticsReference(values, columns);
      const result = await statistics(values, columns, dtype);
      expectClose(result.entropy, [expected.entropy], { atol: 1e-6, rtol: 2e-6 });
      expectClose(result.mass, expected.mass, { atol: 1e-7, rtol: 1e-6 });
    }
  });

  test('is 0 for one-hot targets and log K for uniform ones', async () => {
    expect((await statistics([0, 1, 0, 0, 0, 1], 3)).entropy[0]).toBeCloseTo(0, 7);
    expect((await statistics(new Float32Array(128).fill(1 / 64), 64)).entropy[0]).toBeCloseTo(
      Math.log(64),
      5,
    );
  });

  test('passes a NaN on', async () => {
    expect((await statistics([0.5, Number.NaN, 0.5], 3)).entropy[0]).toBeNaN();
  });

  testSameBytes(() => enqueueStatistics(randomNormal(300 * 53, 2).map(Math.abs), 53));
});

describe('positionalCollapse', () => {
  const [images, registers, positions, dim] = [7, 3, 10, 53];
  const rows = images * (registers + positions);

  function enqueue(values: ArrayLike<number>, dtype: FloatDtype = 'f32'): Tensor {
    using wide = Tensor.from(values, [rows, dim + 1], dtype);
    const result = poisoned([1, 2], 'f64');
    ops.positionalCollapse({ features: wide.columnRange(0, dim), result, positions, registers });
    return result;
  }

  async function collapse(values: ArrayLike<number>, dtype: FloatDtype = 'f32') {
    using result = enqueue(values, dtype);
    return await result.readFloats();
  }

  function reference(values: ArrayLike<number>): [number, number] {
    const at = (b: number, t: number, k: number) =>
      values[(b * (registers + positions) + registers + t) * (dim + 1) + k] as number;
    let [between, total] = [0, 0];
    for (let k = 0; k < dim; k++) {
      const means = new Float64Array(positions);
      for (let t = 0; t < positions; t++) {
        for (let b = 0; b < images; b++) (means[t] as number) += at(b, t, k) / images;
      }
      const grand = means.reduce((sum, mean) => sum + mean, 0) / positions;
      for (let t = 0; t < positions; t++) {
        between += ((means[t] as number) - grand) ** 2 / positions;
        for (let b = 0; b < images; b++) total += (at(b, t, k) - grand) ** 2 / (positions * images);
      }
    }
    return [between, total];
  }

  test('agrees with float64, far from zero, skipping registers and other columns', async () => {
    const values = randomNormal(rows * (dim + 1), 3).map((x) => x + 100);
    for (let row = 0; row < rows; row++) {
      if (row % (registers + positions) < registers)
        values.fill(Number.NaN, row * (dim + 1), (row + 1) * (dim + 1));
    }
    expectClose(await collapse(values), reference(values), { atol: 0, rtol: 1e-12 });
    const half = roundToBf16(values);
    expectClose(await collapse(half, 'bf16'), reference(half), { atol: 0, rtol: 1e-12 });
  });

  testSameBytes(() => [enqueue(randomNormal(rows * (dim + 1), 4))]);

  test('is 1 when position explains everything', async () => {
    const values = Float32Array.from({ length: rows * (dim + 1) }, (_, i) => {
      const position = Math.floor(i / (dim + 1)) % (registers + positions);
      return Math.sin(position * 1000 + (i % (dim + 1)));
    });
    const [between, total] = await collapse(values);
    expect((between as number) / (total as number)).toBeCloseTo(1, 12);
  });

  test('refuses rows that are not whole images', () => {
    using features = Tensor.zeros([rows + 1, dim], 'f32');
    using result = Tensor.zeros([1, 2], 'f64');
    expect(() => ops.positionalCollapse({ features, result, positions, registers })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});
