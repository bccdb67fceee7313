import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

function reference(
  x: Float32Array,
  weight: Float32Array | undefined,
  dim: number,
  eps: number,
): Float64Array {
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += dim) {
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += (x[row + i] as number) ** 2;
    const rstd = 1 / Math.sqrt(squares / dim + eps);
    for (let i = 0; i < dim; i++) y[row + i] = (x[row + i] as number) * rstd * (weight?.[i] ?? 1);
  }
  return y;
}

const poison = (length: number) => new Float32Array(length).fill(Number.NaN);

describe('rmsNormForward', () => {
  afterAll(() => addon.setThreads(2));

  test.each([
    [1, 8],
    [3, 53],
    [97, 64],
    [272, 192],
  ])('agrees with float64 at [%i, %i] in f32', async (rows, dim) => {
    const x = randomNormal(rows * dim, 1);
    const weight = randomNormal(dim, 2);
    using tx = Tensor.from(x, [rows, dim], 'f32');
    using tw = Tensor.from(weight, [1, dim], 'f32');
    using y = Tensor.from(poison(rows * dim), [rows, dim], 'f32');
    ops.rmsNormForward({ x: tx, weight: tw, y, eps: 1e-5 });
    expectClose(await y.readFloats(), reference(x, weight, dim, 1e-5), { atol: 1e-6, rtol: 1e-6 });
  });

  test('is no worse than naive bf16 in bf16', async () => {
    const [rows, dim] = [53, 192];
    const x = roundToBf16(randomNormal(rows * dim, 3));
    using tx = Tensor.from(x, [rows, dim], 'bf16');
    using y = Tensor.from(poison(rows * dim), [rows, dim], 'bf16');
    ops.rmsNormForward({ x: tx, y, eps: 1e-5 });
    const exact = reference(x, undefined, dim, 1e-5);
    expect(maxError(await y.readFloats(), exact)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(exact), exact),
    );
  });

  test('takes a subset of images and skips leading rows', async () => {
    const x = randomNormal(4 * 5 * 16, 4);
    using tx = Tensor.from(x, [20, 16], 'f32');
    using images = Tensor.from([3, 1], [1, 2], 'i32');
    using y = Tensor.from(poison(2 * 3 * 16), [6, 16], 'f32');
    ops.rmsNormForward({ x: tx, y, eps: 1e-5, images, rows: 3, sourceRows: 5, sourceOffset: 2 });
    const all = reference(x, undefined, 16, 1e-5);
    const expected = [3, 1].flatMap((image) => [...all.subarray((image * 5 + 2) * 16, (image * 5 + 5) * 16)]);
    expectClose(await y.readFloats(), expected, { atol: 1e-6, rtol: 1e-6 });
  });

  test('refuses a wrong shape, a wrong dtype, a foreign object and a disposed tensor, each by its code', () => {
    using x = Tensor.zeros([4, 8], 'f32');
    using y = Tensor.zeros([4, 7], 'f32');
    using half = Tensor.zeros([4, 8], 'bf16');
    const gone = Tensor.zeros([4, 8], 'f32');
    const { handle } = gone;
    gone[Symbol.dispose]();
    const run = (target: unknown) => ops.rmsNormForward({ x, y: target as Tensor, eps: 1e-5 });
    expect(() => run(y)).toThrow('[rms_norm_forward] Expected y of shape [4, 8] but received [4, 7]');
    expect(() => run(y)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }));
    expect(() => run(half)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }));
    expect(() => run({ handle: {} })).toThrow(expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }));
    expect(() => run({ handle })).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DISPOSED' }));
  });
});
