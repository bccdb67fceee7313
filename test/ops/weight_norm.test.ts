import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { weightNorm, weightNormGradients } from '../support/norm_reference.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const eps = 1e-8;

function backward(v: Float32Array, g: Float32Array, gradWeight: Float32Array, dim: number) {
  const rows = g.length;
  using tv = Tensor.from(v, [rows, dim], 'f32');
  using tg = Tensor.from(g, [rows, 1], 'f32');
  using tw = Tensor.from(gradWeight, [rows, dim], 'f32');
  const gradV = poisoned([rows, dim], 'f32');
  const gradG = poisoned([rows, 1], 'f32');
  ops.weightNormBackward({ v: tv, g: tg, gradWeight: tw, gradV, gradG, eps });
  return { gradV, gradG };
}

describe('weightNorm', () => {
  test.each([
    [1, 1],
    [53, 97],
    [106, 64],
  ])('agrees with float64 at [%i, %i], forward and backward', async (rows, dim) => {
    const v = randomNormal(rows * dim, 1, 0.02);
    const g = randomNormal(rows, 2);
    const gradWeight = randomNormal(rows * dim, 3);
    using tv = Tensor.from(v, [rows, dim], 'f32');
    using tg = Tensor.from(g, [rows, 1], 'f32');
    using weight = poisoned([rows, dim], 'f32');
    ops.weightNormForward({ v: tv, g: tg, weight, eps });
    expectClose(await weight.readFloats(), weightNorm(v, g, dim, eps), { atol: 1e-7, rtol: 1e-6 });
    const { gradV, gradG } = backward(v, g, gradWeight, dim);
    const exact = weightNormGradients(v, g, gradWeight, dim, eps);
    expectClose(await gradV.readFloats(), exact.gradV, { atol: dim === 1 ? 1e-4 : 2e-5, rtol: 1e-5 });
    expectClose(await gradG.readFloats(), exact.gradG, { atol: 2e-6, rtol: 2e-6 });
  });

  test('keeps a zero row at zero, with a finite gradient', async () => {
    const gradWeight = Float32Array.of(1, 2, 3);
    const { gradV, gradG } = backward(new Float32Array(3), Float32Array.of(1), gradWeight, 3);
    expectClose(await gradV.readFloats(), [1e8, 2e8, 3e8], { atol: 0, rtol: 1e-6 });
    expect(await gradG.readFloats()).toEqual(Float32Array.of(0));
  });

  test('rounds the exact weight to bf16', async () => {
    const v = randomNormal(53 * 96, 4, 0.02);
    const g = randomNormal(53, 5);
    using tv = Tensor.from(v, [53, 96], 'f32');
    using tg = Tensor.from(g, [53, 1], 'f32');
    using weight = poisoned([53, 96], 'bf16');
    ops.weightNormForward({ v: tv, g: tg, weight, eps });
    const exact = weightNorm(v, g, 96, eps);
    expect(maxError(await weight.readFloats(), exact)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(exact), exact),
    );
  });

  test.each([53, 64])('may replace the gradient of the weight by that of v, at %i columns', async (dim) => {
    const v = randomNormal(5 * dim, 9, 0.02);
    const g = randomNormal(5, 10);
    const gradWeight = randomNormal(5 * dim, 11);
    using tv = Tensor.from(v, [5, dim], 'f32');
    using tg = Tensor.from(g, [5, 1], 'f32');
    using grad = Tensor.from(gradWeight, [5, dim], 'f32');
    using gradG = poisoned([5, 1], 'f32');
    ops.weightNormBackward({ v: tv, g: tg, gradWeight: grad, gradV: grad, gradG, eps });
    const exact = weightNormGradients(v, g, gradWeight, dim, eps);
    expectClose(await grad.readFloats(), exact.gradV, { atol: 2e-5, rtol: 1e-5 });
  });

  testSameBytes(() => {
    const v = randomNormal(331 * 53, 6);
    const g = randomNormal(331, 7);
    const gradWeight = randomNormal(331 * 53, 8);
    return Object.values(backward(v, g, gradWeight, 53));
  });

  test('refuses g as a row', () => {
    using v = Tensor.zeros([4, 8], 'f32');
    using g = Tensor.zeros([1, 4], 'f32');
    expect(() => ops.weightNormForward({ v, g, weight: v, eps })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});
