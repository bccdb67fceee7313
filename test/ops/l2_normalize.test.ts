import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { l2Normalize, l2NormalizeGradient } from '../support/norm_reference.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const close = { atol: 1e-6, rtol: 2e-6 };

function run(x: Float32Array, gradY: Float32Array, dim: number, eps: number, dtype: 'f32' | 'bf16') {
  const rows = x.length / dim;
  using tx = Tensor.from(x, [rows, dim], dtype);
  using tg = Tensor.from(gradY, [rows, dim], dtype);
  using invNorm = poisoned([1, rows], 'f32');
  const y = poisoned([rows, dim], dtype);
  const gradX = poisoned([rows, dim], dtype);
  ops.l2NormalizeForward({ x: tx, y, invNorm, eps });
  ops.l2NormalizeBackward({ y, invNorm, gradY: tg, gradX });
  return { y, gradX };
}

describe('l2Normalize', () => {
  test.each([
    [1, 1],
    [1, 53],
    [97, 32],
    [272, 106],
  ])('agrees with float64 at [%i, %i] in f32, forward and backward', async (rows, dim) => {
    const x = randomNormal(rows * dim, 1);
    const gradY = randomNormal(rows * dim, 2);
    const { y, gradX } = run(x, gradY, dim, 1e-12, 'f32');
    expectClose(await y.readFloats(), l2Normalize(x, dim, 1e-12), close);
    expectClose(await gradX.readFloats(), l2NormalizeGradient(x, gradY, dim, 1e-12), {
      atol: dim === 1 ? 1e-5 : 2e-6,
      rtol: 5e-6,
    });
  });

  test('divides rows shorter than eps, and their gradients, by eps', async () => {
    const x = Float32Array.of(0, 0, 0, 1e-4, -2e-4, 0, 3, 4, 0);
    const gradY = Float32Array.of(1, 2, 3, 1, 2, 3, 1, 2, 3);
    const { y, gradX } = run(x, gradY, 3, 1e-2, 'f32');
    expectClose(await y.readFloats(), l2Normalize(x, 3, 1e-2), close);
    expectClose(await gradX.readFloats(), l2NormalizeGradient(x, gradY, 3, 1e-2), close);
  });

  test('is no worse than naive bf16 in bf16', async () => {
    const [rows, dim] = [97, 192];
    const x = roundToBf16(randomNormal(rows * dim, 3));
    const gradY = roundToBf16(randomNormal(rows * dim, 4));
    const { y, gradX } = run(x, gradY, dim, 1e-12, 'bf16');
    const exact = l2Normalize(x, dim, 1e-12);
    expect(maxError(await y.readFloats(), exact)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(exact), exact),
    );
    const gradient = l2NormalizeGradient(x, gradY, dim, 1e-12);
    expect(maxError(await gradX.readFloats(), gradient)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(gradient), gradient),
    );
  });

  test.each(['f32', 'bf16'] as const)(
    'reads %s rows beside others and writes the other dtype, forward and backward',
    async (dtype) => {
      const other = dtype === 'f32' ? 'bf16' : 'f32';
      const [rows, dim] = [9, 48];
      const x = roundToBf16(randomNormal(rows * dim, 7));
      const gradY = roundToBf16(randomNormal(rows * dim, 8));
      const beside = (values: Float32Array) =>
        Float32Array.from({ length: 2 * values.length }, (_, i) =>
          i % (2 * dim) < dim ? Number.NaN : (values[Math.floor(i / 2 / dim) * dim + (i % dim)] as number),
        );
      using wideX = Tensor.from(beside(x), [rows, 2 * dim], dtype);
      using y = poisoned([rows, dim], other);
      using invNorm = poisoned([1, rows], 'f32');
      ops.l2NormalizeForward({ x: wideX.columnRange(dim, 2 * dim), y, invNorm, eps: 1e-12 });
      const rounding = { atol: 1e-6, rtol: 2 ** -8 };
      expectClose(await y.readFloats(), l2Normalize(x, dim, 1e-12), other === 'f32' ? close : rounding);

      using exactY = Tensor.from(l2Normalize(x, dim, 1e-12), [rows, dim], dtype);
      using wideGradY = Tensor.from(beside(gradY), [rows, 2 * dim], dtype);
      using gradX = poisoned([rows, dim], other);
      ops.l2NormalizeBackward({ y: exactY, invNorm, gradY: wideGradY.columnRange(dim, 2 * dim), gradX });
      const gradient = l2NormalizeGradient(x, gradY, dim, 1e-12);
      expectClose(await gradX.readFloats(), gradient, { atol: 2 ** -8, rtol: 2 ** -8 });
    },
  );

  test.each([53, 64])(
    'may replace x by y, and the gradient of y by that of x, at %i columns',
    async (dim) => {
      const x = randomNormal(5 * dim, 9);
      const gradY = randomNormal(5 * dim, 10);
      using tx = Tensor.from(x, [5, dim], 'f32');
      using tg = Tensor.from(gradY, [5, dim], 'f32');
      using invNorm = poisoned([1, 5], 'f32');
      ops.l2NormalizeForward({ x: tx, y: tx, invNorm, eps: 1e-12 });
      ops.l2NormalizeBackward({ y: tx, invNorm, gradY: tg, gradX: tg });
      expectClose(await tx.readFloats(), l2Normalize(x, dim, 1e-12), close);
      expectClose(await tg.readFloats(), l2NormalizeGradient(x, gradY, dim, 1e-12), {
        atol: 2e-6,
        rtol: 5e-6,
      });
    },
  );

  testSameBytes(() => {
    const x = randomNormal(777 * 53, 5);
    const gradY = randomNormal(777 * 53, 6);
    return Object.values(run(x, gradY, 53, 1e-7, 'f32'));
  });

  test('refuses a saved norm of another length', () => {
    using x = Tensor.zeros([4, 8], 'f32');
    using invNorm = Tensor.zeros([1, 3], 'f32');
    expect(() => ops.l2NormalizeForward({ x, y: x, invNorm, eps: 1e-7 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});
