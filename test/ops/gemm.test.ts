import { addon } from '../../lib/native/addon.js';
import type { Dtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { gelu, geluSlope, type ProductShape, product } from '../support/gemm.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

const poison = (length: number) => new Float32Array(length).fill(Number.NaN);

/** Random operands in a dtype, their values and the exact product. */
function operands(shape: ProductShape, dtype: Dtype) {
  const { m, n, k, transposeA, transposeB } = shape;
  const rounded = (values: Float32Array) => (dtype === 'bf16' ? roundToBf16(values) : values);
  const aValues = rounded(randomNormal(m * k, 1));
  const bValues = rounded(randomNormal(k * n, 2));
  const a = Tensor.from(aValues, transposeA ? [k, m] : [m, k], dtype);
  const b = Tensor.from(bValues, transposeB ? [n, k] : [k, n], dtype);
  return { a, b, exact: product(aValues, bValues, shape), transposeA, transposeB };
}

/** Sums of k products of normal numbers, added in f32. */
const tolerance = (k: number) => ({ atol: 3e-6 * Math.sqrt(k) + 1e-6, rtol: 2e-6 });

const layouts = [
  { transposeA: false, transposeB: false },
  { transposeA: false, transposeB: true },
  { transposeA: true, transposeB: false },
  { transposeA: true, transposeB: true },
];
const sizes: [number, number, number][] = [
  [1, 1, 1],
  [1, 53, 97],
  [53, 1, 16],
  [97, 106, 53],
  [106, 97, 272],
  [272, 97, 48],
  [13, 33, 1025],
  [106, 192, 848],
];

describe('gemm', () => {
  afterAll(() => addon.setThreads(2));

  test.each(sizes)('agrees with float64 at [%i, %i, %i] in f32, in every layout', async (m, n, k) => {
    for (const layout of layouts) {
      const { a, b, exact } = operands({ m, n, k, ...layout }, 'f32');
      using c = Tensor.from(poison(m * n), [m, n], 'f32');
      ops.gemm({ a, b, c, ...layout });
      expectClose(await c.readFloats(), exact, tolerance(k));
    }
  });

  test.each(sizes)('multiplies bf16 into f32 and bf16 at [%i, %i, %i], rounding once', async (m, n, k) => {
    for (const layout of layouts) {
      const { a, b, exact } = operands({ m, n, k, ...layout }, 'bf16');
      using c = Tensor.from(poison(m * n), [m, n], 'f32');
      using half = Tensor.from(poison(m * n), [m, n], 'bf16');
      ops.gemm({ a, b, c, ...layout });
      ops.gemm({ a, b, c: half, ...layout });
      expectClose(await c.readFloats(), exact, tolerance(k));
      const naive = maxError(roundToBf16(exact), exact);
      expect(maxError(await half.readFloats(), exact)).toBeLessThanOrEqual(2 * naive + 1e-6);
    }
  });

  test.each(['f32', 'bf16'] as const)(
    'scales, accumulates, adds a bias and a residual in %s, over several blocks of k',
    async (dtype) => {
      const shape = { m: 53, n: 97, k: 1100, transposeB: true };
      const { a, b, exact } = operands(shape, 'bf16');
      const old = roundToBf16(randomNormal(53 * 97, 3));
      const biasValues = randomNormal(97, 4);
      const residualValues = roundToBf16(randomNormal(53 * 97, 5));
      using c = Tensor.from(old, [53, 97], dtype);
      using bias = Tensor.from(biasValues, [97], 'f32');
      using residual = Tensor.from(residualValues, [53, 97], dtype);
      ops.gemm({ a, b, c, transposeB: true, alpha: 0.25, accumulate: true, bias, residual });
      const expected = exact.map(
        (value, i) =>
          0.25 * value + (old[i] as number) + (biasValues[i % 97] as number) + (residualValues[i] as number),
      );
      expectClose(
        await c.readFloats(),
        expected,
        dtype === 'f32' ? tolerance(1100) : { atol: 1e-4, rtol: 2 ** -8 },
      );
    },
  );

  test('takes c itself as the residual', async () => {
    const { a, b, exact } = operands({ m: 106, n: 53, k: 800 }, 'f32');
    const old = randomNormal(106 * 53, 3);
    using c = Tensor.from(old, [106, 53], 'f32');
    ops.gemm({ a, b, c, residual: c });
    const expected = exact.map((value, i) => value + (old[i] as number));
    expectClose(await c.readFloats(), expected, tolerance(800));
  });

  test('applies the exact GELU within 1e-6 and keeps its argument', async () => {
    const z = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 200);
    using a = Tensor.from(z, [4001, 1], 'f32');
    using b = Tensor.from([1], [1, 1], 'f32');
    using c = Tensor.from(poison(4001), [4001, 1], 'f32');
    using pre = Tensor.from(poison(4001), [4001, 1], 'f32');
    ops.gemm({ a, b, c, gelu: 'forward', pre });
    expect([...(await pre.readFloats())]).toEqual([...z]);
    expectClose(await c.readFloats(), Array.from(z, gelu), { atol: 4e-7, rtol: 1.2e-7 });
  });

  test('applies the slope of GELU and leaves the activation in pre', async () => {
    const z = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 200);
    using a = Tensor.from(new Float32Array(4001).fill(2), [4001, 1], 'f32');
    using b = Tensor.from([1], [1, 1], 'f32');
    using c = Tensor.from(poison(4001), [4001, 1], 'f32');
    using pre = Tensor.from(z, [4001, 1], 'f32');
    ops.gemm({ a, b, c, gelu: 'backward', pre });
    expectClose(await pre.readFloats(), Array.from(z, gelu), { atol: 4e-7, rtol: 1.2e-7 });
    const slopes = Array.from(z, (value) => 2 * geluSlope(value));
    expectClose(await c.readFloats(), slopes, { atol: 1e-6, rtol: 0 });
  });

  test('fuses bias, GELU and residual in bf16', async () => {
    const { a, b, exact } = operands({ m: 53, n: 106, k: 48, transposeB: true }, 'bf16');
    const biasValues = roundToBf16(randomNormal(106, 4));
    const residualValues = roundToBf16(randomNormal(53 * 106, 5));
    using bias = Tensor.from(biasValues, [1, 106], 'bf16');
    using residual = Tensor.from(residualValues, [53, 106], 'bf16');
    using c = Tensor.from(poison(53 * 106), [53, 106], 'bf16');
    using pre = Tensor.from(poison(53 * 106), [53, 106], 'bf16');
    ops.gemm({ a, b, c, transposeB: true, bias, residual, gelu: 'forward', pre });
    const z = exact.map((value, i) => value + (biasValues[i % 106] as number));
    const y = z.map((value, i) => gelu(value) + (residualValues[i] as number));
    expectClose(await pre.readFloats(), z, { atol: 1e-5, rtol: 2 ** -8 });
    expectClose(await c.readFloats(), y, { atol: 1e-5, rtol: 2 ** -8 });
  });

  test('reads and writes strided rows and leaves the columns beside them alone', async () => {
    const [m, n, k] = [53, 40, 97];
    const wide = randomNormal(m * (k + 7), 1);
    const bValues = randomNormal(n * k, 2);
    const part = Float32Array.from(
      { length: m * k },
      (_, i) => wide[Math.floor(i / k) * (k + 7) + 3 + (i % k)] as number,
    );
    const exact = product(part, bValues, { m, n, k, transposeB: true });
    using all = Tensor.from(wide, [m, k + 7], 'f32');
    using b = Tensor.from(bValues, [n, k], 'f32');
    using target = Tensor.from(new Float32Array(m * (n + 2)).fill(9), [m, n + 2], 'f32');
    ops.gemm({ a: all.columnRange(3, 3 + k), b, c: target.columnRange(1, 1 + n), transposeB: true });
    const expected = Array.from({ length: m * (n + 2) }, (_, i) => {
      const col = i % (n + 2);
      return col === 0 || col === n + 1 ? 9 : (exact[Math.floor(i / (n + 2)) * n + col - 1] as number);
    });
    expectClose(await target.readFloats(), expected, tolerance(k));
  });

  // On the interpreter 300 rows are two parts; multiples of 8 columns are read by eights, others one by one; the wide
  // ones take two blocks a row.
  describe.each([
    { m: 300, n: 33, dtype: 'f32' },
    { m: 6, n: 2200, dtype: 'f32' },
    { m: 300, n: 40, dtype: 'bf16' },
    { m: 6, n: 301, dtype: 'bf16' },
  ] as const)('of $m rows and $n columns in $dtype', ({ m, n, dtype }) => {
    const k = 17;
    const tolerances = dtype === 'f32' ? { atol: 2e-5, rtol: 2e-6 } : { atol: 1e-4, rtol: 2 ** -8 };
    const old = roundToBf16(randomNormal(m * n, 3));
    const residualValues = roundToBf16(randomNormal(m * n, 4));
    const biasValues = roundToBf16(randomNormal(n, 5));
    const preValues = roundToBf16(randomNormal(m * n, 6));

    test.each([false, true])('does everything at once, forward, with transposeA %p', async (transposeA) => {
      const { a, b, exact } = operands({ m, n, k, transposeA }, 'bf16');
      using bias = Tensor.from(biasValues, [1, n], dtype === 'f32' ? 'bf16' : 'f32');
      using residual = Tensor.from(residualValues, [m, n], dtype);
      using c = Tensor.from(old, [m, n], dtype);
      using pre = poisoned([m, n], dtype);
      ops.gemm({ a, b, c, transposeA, alpha: 0.5, accumulate: true, bias, residual, gelu: 'forward', pre });
      const z = exact.map((value, i) => 0.5 * value + (old[i] as number) + (biasValues[i % n] as number));
      expectClose(await pre.readFloats(), z, tolerances);
      const y = z.map((value, i) => gelu(value) + (residualValues[i] as number));
      expectClose(await c.readFloats(), y, tolerances);
    });

    test('multiplies by the slope of GELU, with c itself as the residual', async () => {
      const { a, b, exact } = operands({ m, n, k, transposeB: true }, 'bf16');
      using c = Tensor.from(residualValues, [m, n], dtype);
      using pre = Tensor.from(preValues, [m, n], dtype);
      ops.gemm({ a, b, c, transposeB: true, residual: c, gelu: 'backward', pre });
      const at = (i: number) => preValues[i] as number;
      expectClose(await pre.readFloats(), Array.from(preValues, gelu), tolerances);
      const y = exact.map((value, i) => value * geluSlope(at(i)) + (residualValues[i] as number));
      expectClose(await c.readFloats(), y, tolerances);
    });

    if (backend === 'cuda') {
      testSameBytes(() => {
        const { a, b } = operands({ m, n, k }, 'bf16');
        using bias = Tensor.from(biasValues, [1, n], 'f32');
        const c = Tensor.from(old, [m, n], dtype);
        const pre = Tensor.from(preValues, [m, n], dtype);
        ops.gemm({ a, b, c, bias, residual: c, gelu: 'backward', pre });
        return [c, pre];
      });
    }
  });

  test.each(['f32', 'bf16'] as const)('adds a bias of any dtype, aligned or not, to %s', async (dtype) => {
    const [m, n, k] = [5, 16, 24];
    const { a, b, exact } = operands({ m, n, k }, 'bf16');
    const values = roundToBf16(randomNormal(1 + n, 7));
    const tolerances = dtype === 'f32' ? tolerance(k) : { atol: 1e-5, rtol: 2 ** -8 };
    for (const biasDtype of ['f32', 'bf16'] as const) {
      using biases = Tensor.from(values, [1, 1 + n], biasDtype);
      for (const first of [0, 1]) {
        using c = poisoned([m, n], dtype);
        ops.gemm({ a, b, c, bias: biases.columnRange(first, first + n) });
        const sums = exact.map((value, i) => value + (values[first + (i % n)] as number));
        expectClose(await c.readFloats(), sums, tolerances);
      }
    }
  });

  test('multiplies the same shapes at other addresses', async () => {
    const [m, n, k] = [9, 8, 16];
    const wide = roundToBf16(randomNormal(m * (k + 8), 1));
    const bValues = roundToBf16(randomNormal(k * n, 2));
    using a = Tensor.from(wide, [m, k + 8], 'bf16');
    using b = Tensor.from(bValues, [k, n], 'bf16');
    for (const first of [0, 8, 1, 2]) {
      using c = poisoned([m, n], 'f32');
      ops.gemm({ a: a.columnRange(first, first + k), b, c });
      const part = Float32Array.from(
        { length: m * k },
        (_, i) => wide[Math.floor(i / k) * (k + 8) + first + (i % k)] as number,
      );
      expectClose(await c.readFloats(), product(part, bValues, { m, n, k }), tolerance(k));
    }
  });

  test('rounds sums of f32 operands to bf16', async () => {
    const { a, b, exact } = operands({ m: 53, n: 33, k: 97 }, 'f32');
    using c = poisoned([53, 33], 'bf16');
    ops.gemm({ a, b, c });
    const naive = maxError(roundToBf16(exact), exact);
    expect(maxError(await c.readFloats(), exact)).toBeLessThanOrEqual(2 * naive + 1e-6);
  });

  test('makes zeros of a sum over nothing', async () => {
    using a = Tensor.zeros([0, 5], 'f32');
    using b = Tensor.zeros([0, 3], 'f32');
    using bias = Tensor.from([1, 2, 3], [1, 3], 'f32');
    using c = poisoned([5, 3], 'f32');
    ops.gemm({ a, b, c, bias, transposeA: true });
    expect([...(await c.readFloats())]).toEqual(new Array(5).fill([1, 2, 3]).flat());
  });

  test('leaves alone a c without rows', async () => {
    using a = Tensor.zeros([0, 5], 'f32');
    using b = Tensor.zeros([5, 3], 'f32');
    using c = Tensor.zeros([0, 3], 'f32');
    ops.gemm({ a, b, c });
    await addon.synchronize();
  });

  if (backend === 'cuda') {
    test('can be captured and replayed, on what its operands hold then', async () => {
      const shape = { m: 53, n: 40, k: 24, transposeB: true };
      const { a, b, exact } = operands(shape, 'bf16');
      using c = poisoned([53, 40], 'bf16');
      using pre = poisoned([53, 40], 'bf16');
      using sum = Tensor.zeros([53, 40], 'f32');
      const run = () => {
        ops.gemm({ a, b, c, transposeB: true, gelu: 'forward', pre });
        ops.gemm({ a, b, c: sum, transposeB: true, accumulate: true });
      };
      run();
      const graph = new addon.Graph();
      graph.begin();
      run();
      graph.end();
      const other = roundToBf16(randomNormal(53 * 24, 9));
      a.write(other);
      graph.replay();
      graph.replay();
      const bValues = roundToBf16(randomNormal(24 * 40, 2));
      const then = product(other, bValues, shape);
      expectClose(await pre.readFloats(), then, { atol: 1e-5, rtol: 2 ** -8 });
      expectClose(await c.readFloats(), then.map(gelu), { atol: 1e-5, rtol: 2 ** -8 });
      expectClose(
        await sum.readFloats(),
        exact.map((value, i) => value + 2 * (then[i] as number)),
        tolerance(72),
      );
      graph.dispose();
    });
  } else {
    test.each(['f32', 'bf16'] as const)(
      'gives the same bytes on 1, 2, 3 and 7 threads in %s',
      async (dtype) => {
        for (const layout of layouts) {
          const shape = { m: 272, n: 193, k: 1000, ...layout };
          const { a, b } = operands(shape, dtype);
          const results: string[] = [];
          for (const threads of [1, 2, 3, 7]) {
            addon.setThreads(threads);
            using c = Tensor.from(poison(272 * 193), [272, 193], dtype);
            using pre = Tensor.from(poison(272 * 193), [272, 193], dtype);
            ops.gemm({ a, b, c, ...layout, alpha: 0.05, gelu: 'forward', pre });
            const floats = new Float32Array(await c.readFloats());
            results.push(Buffer.from(floats.buffer).toString('base64'));
          }
          expect(new Set(results).size).toBe(1);
        }
      },
    );
  }

  test('passes NaN on to the rows and columns that it touches, and no others', async () => {
    const aValues = randomNormal(20 * 53, 1);
    aValues[7 * 53 + 52] = Number.NaN;
    using a = Tensor.from(aValues, [20, 53], 'f32');
    using b = Tensor.from(randomNormal(53 * 40, 2), [53, 40], 'f32');
    using c = Tensor.zeros([20, 40], 'f32');
    ops.gemm({ a, b, c, gelu: 'forward' });
    const result = await c.readFloats();
    for (let i = 0; i < 20 * 40; i++) expect(Number.isNaN(result[i])).toBe(Math.floor(i / 40) === 7);
  });

  test('refuses wrong shapes, dtypes and uses, each by its code', () => {
    using a = Tensor.zeros([4, 8], 'f32');
    using b = Tensor.zeros([8, 6], 'f32');
    using half = Tensor.zeros([8, 6], 'bf16');
    using c = Tensor.zeros([4, 6], 'f32');
    using narrow = Tensor.zeros([4, 5], 'f32');
    const code = (name: string) => expect.objectContaining({ code: `ERR_CAPI_${name}` });
    expect(() => ops.gemm({ a, b, c, transposeB: true })).toThrow(
      '[gemm] Expected b of shape [8, 8] but received [8, 6]',
    );
    expect(() => ops.gemm({ a, b, c: narrow })).toThrow(code('SHAPE_MISMATCH'));
    expect(() => ops.gemm({ a, b, c, bias: c })).toThrow(code('SHAPE_MISMATCH'));
    expect(() => ops.gemm({ a, b: half, c })).toThrow(code('DTYPE_MISMATCH'));
    expect(() => ops.gemm({ a, b, c, gelu: 'backward' })).toThrow(code('INVALID_ARGUMENT'));
    expect(() => ops.gemm({ a, b, c, pre: c })).toThrow(code('INVALID_ARGUMENT'));
    expect(() => ops.gemm({ a, b: a.view([8, 4]), c: a.view([8, 4]), transposeA: true })).toThrow(
      code('SHAPE_MISMATCH'),
    );
    using square = Tensor.zeros([8, 8], 'f32');
    using d = Tensor.zeros([8, 8], 'f32');
    expect(() => ops.gemm({ a: square, b: d, c: square })).toThrow(code('INVALID_ARGUMENT'));
    expect(() => ops.gemm({ a, b, c, gelu: 'tanh' as 'forward' })).toThrow(code('INVALID_ARGUMENT'));
  });
});
