import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { rmsNorm, rmsNormGradients } from '../support/norm_reference.js';
import { expectSameBytesForAnyThreads, poisoned } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const eps = 1e-5;
const close = { atol: 2e-6, rtol: 2e-6 };

/** Runs forward and backward on fresh tensors. */
function run(x: Float32Array, weight: Float32Array, gradY: Float32Array, dim: number, dtype: 'f32' | 'bf16') {
  const rows = x.length / dim;
  using tx = Tensor.from(x, [rows, dim], dtype);
  using tw = Tensor.from(weight, [1, dim], 'f32');
  using tg = Tensor.from(gradY, [rows, dim], dtype);
  using rstd = poisoned([1, rows], 'f32');
  using first = poisoned([rows, dim], dtype);
  const gradX = poisoned([rows, dim], dtype);
  const gradWeight = poisoned([1, dim], 'f32');
  const y = poisoned([rows, dim], dtype);
  ops.rmsNormForward({ x: tx, weight: tw, y: first, rstd, eps });
  ops.rmsNormBackward({ x: tx, weight: tw, rstd, gradY: tg, gradX, gradWeight, y });
  return { gradX, gradWeight, y };
}

describe('rmsNormBackward', () => {
  test.each([
    [1, 8],
    [53, 53],
    [97, 64],
    [106, 97],
    [272, 192],
  ])('agrees with float64 at [%i, %i] in f32', async (rows, dim) => {
    const x = randomNormal(rows * dim, 1);
    const weight = randomNormal(dim, 2);
    const gradY = randomNormal(rows * dim, 3);
    const { gradX, gradWeight, y } = run(x, weight, gradY, dim, 'f32');
    const exact = rmsNormGradients(x, weight, gradY, dim, eps);
    expectClose(await gradX.readFloats(), exact.gradX, { atol: 5e-6, rtol: 5e-6 });
    expectClose(await gradWeight.readFloats(), exact.gradWeight, { atol: 2e-5, rtol: 5e-6 });
    expectClose(await y.readFloats(), rmsNorm(x, weight, dim, eps).y, close);
  });

  test('is no worse than naive bf16 in bf16', async () => {
    const [rows, dim] = [106, 192];
    const x = roundToBf16(randomNormal(rows * dim, 4));
    const weight = randomNormal(dim, 5);
    const gradY = roundToBf16(randomNormal(rows * dim, 6));
    const { gradX, y } = run(x, weight, gradY, dim, 'bf16');
    const exact = rmsNormGradients(x, weight, gradY, dim, eps).gradX;
    expect(maxError(await gradX.readFloats(), exact)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(exact), exact),
    );
    const output = rmsNorm(x, weight, dim, eps).y;
    expect(maxError(await y.readFloats(), output)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(output), output),
    );
  });

  test('adds to the rows of the chosen images and leaves the others alone', async () => {
    const dim = 16;
    const x = randomNormal(4 * 5 * dim, 7);
    const gradY = randomNormal(2 * 3 * dim, 8);
    using tx = Tensor.from(x, [20, dim], 'f32');
    using tg = Tensor.from(gradY, [6, dim], 'f32');
    using images = Tensor.from([3, 1], [1, 2], 'i32');
    using y = poisoned([6, dim], 'f32');
    using rstd = poisoned([1, 6], 'f32');
    using gradX = Tensor.from(new Float32Array(x.length).fill(1), [20, dim], 'f32');
    const map = { images, rows: 3, sourceRows: 5, sourceOffset: 2 };
    ops.rmsNormForward({ x: tx, y, rstd, eps, ...map });
    ops.rmsNormBackward({ x: tx, rstd, gradY: tg, gradX, accumulate: true, ...map });
    const expected = new Float64Array(x.length).fill(1);
    [3, 1].forEach((image, j) => {
      const begin = (image * 5 + 2) * dim;
      const part = x.subarray(begin, begin + 3 * dim);
      const { gradX: exact } = rmsNormGradients(
        part,
        undefined,
        gradY.subarray(j * 3 * dim, (j + 1) * 3 * dim),
        dim,
        eps,
      );
      exact.forEach((value, i) => {
        expected[begin + i] = 1 + value;
      });
    });
    expectClose(await gradX.readFloats(), expected, close);
  });

  test('gives the same bytes for 1, 2 and 3 threads', async () => {
    const [rows, dim] = [331, 64];
    const x = randomNormal(rows * dim, 9);
    const weight = randomNormal(dim, 10);
    const gradY = randomNormal(rows * dim, 11);
    await expectSameBytesForAnyThreads(() => Object.values(run(x, weight, gradY, dim, 'f32')));
  });

  test('passes NaN on, and only within its row', async () => {
    const dim = 9;
    const x = randomNormal(3 * dim, 12);
    x[dim + 2] = Number.NaN;
    const { gradX, gradWeight } = run(
      x,
      new Float32Array(dim).fill(1),
      randomNormal(3 * dim, 13),
      dim,
      'f32',
    );
    const rows = await gradX.readFloats();
    expect(Array.from(rows, Number.isNaN)).toEqual(Array.from(rows, (_, i) => i >= dim && i < 2 * dim));
    expect(Array.from(await gradWeight.readFloats(), Number.isNaN)).toEqual(new Array(dim).fill(true));
  });

  test('refuses a gradient of another shape', () => {
    using x = Tensor.zeros([4, 8], 'f32');
    using rstd = Tensor.zeros([1, 4], 'f32');
    using gradX = Tensor.zeros([4, 7], 'f32');
    expect(() => ops.rmsNormBackward({ x, rstd, gradY: x, gradX })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});
