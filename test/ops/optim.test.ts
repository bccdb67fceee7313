import { ops } from '../../lib/tensor/ops.js';
import { type AdamwState, adamwReference } from '../support/adamw_reference.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { bytesOf, expectSameBytesForAnyThreads, poisoned } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const rates = { lr: 1e-3, weightDecay: 0.1, momentum: 0.99 };
const betas = { beta1: 0.9, beta2: 0.95, eps: 1e-8 };

/** (offset, length, rate, decay): some tiny, one across two blocks of work, a gap between the last two. */
const segments = [
  [0, 5, 1, 0],
  [5, 36000, 1, 1],
  [36005, 53, 0, 1],
  [36070, 97, 0.2, 0.1],
] as const;
const size = 36200;

function multipliers(i: number): readonly [number, number] | undefined {
  const segment = segments.find(([offset, length]) => i >= offset && i < offset + length);
  return segment && [segment[2], segment[3]];
}

function tensors() {
  const segmentCount = segments.length;
  return {
    param: Tensor.from(firstParam, [1, size], 'f32'),
    m: Tensor.zeros([1, size], 'f32'),
    v: Tensor.zeros([1, size], 'f32'),
    ema: Tensor.from(firstEma, [1, size], 'f32'),
    paramBf16: Tensor.zeros([1, size], 'bf16'),
    emaBf16: Tensor.zeros([1, size], 'bf16'),
    step: Tensor.zeros([1, 1], 'i32'),
    segments: Tensor.from(
      segments.flatMap(([offset, length, ..._]) => [offset, length]),
      [segmentCount, 2],
      'i32',
    ),
    multipliers: Tensor.from(
      segments.flatMap(([, , rate, decay]) => [rate, decay]),
      [segmentCount, 2],
      'f32',
    ),
    scalars: Tensor.from([rates.lr, rates.weightDecay, rates.momentum, 0], [1, 4], 'f32'),
  };
}

const firstParam = randomNormal(size, 1);
const firstEma = randomNormal(size, 2);
const normal = randomNormal(size + 5, 3);
/** Some gradients are exactly zero. */
const gradient = (step: number) =>
  normal.slice(step, size + step).map((value, i) => (i % 7 === 0 ? 0 : value));

describe('adamwEma', () => {
  test('agrees with float64 over five steps, by segment', async () => {
    const t = tensors();
    const state: AdamwState = {
      param: Float64Array.from(firstParam),
      m: new Float64Array(size),
      v: new Float64Array(size),
      ema: Float64Array.from(firstEma),
    };
    const untouched = Float64Array.from(state.ema);
    for (let step = 1; step <= 5; step++) {
      using grad = Tensor.from(gradient(step), [1, size], 'f32');
      ops.adamwEma({ ...t, grad, ...betas });
      adamwReference(state, gradient(step), step, (i) => multipliers(i) ?? [0, 0], rates);
    }
    const inSegment = (values: ArrayLike<number>) =>
      Array.from(values).filter((_, i) => multipliers(i) !== undefined);
    const close = { atol: 1e-6, rtol: 1e-6 };
    const param = await t.param.readFloats();
    const ema = await t.ema.readFloats();
    expectClose(inSegment(param), inSegment(state.param), close);
    expectClose(inSegment(ema), inSegment(state.ema), close);
    expectClose(inSegment(await t.m.readFloats()), inSegment(state.m), close);
    expectClose(inSegment(await t.v.readFloats()), inSegment(state.v), close);
    const exactly = { atol: 0, rtol: 0 };
    expectClose(inSegment(await t.paramBf16.readFloats()), inSegment(roundToBf16(param)), exactly);
    expectClose(inSegment(await t.emaBf16.readFloats()), inSegment(roundToBf16(ema)), exactly);
    expect(Array.from(await t.step.read())).toEqual([5]);
    // A rate of 0 leaves the bits of the parameter; the gap keeps everything.
    expect(param.slice(36005, 36058)).toEqual(firstParam.slice(36005, 36058));
    expect(Array.from(ema.slice(36058, 36070))).toEqual(Array.from(untouched.slice(36058, 36070)));
  });

  test('changes nothing after a gradient that is not finite', async () => {
    const t = tensors();
    using grad = Tensor.from(gradient(1), [1, size], 'f32');
    using nonfinite = Tensor.from([3], [1, 1], 'i32');
    const before = await Promise.all(Object.values(t).map(bytesOf));
    ops.adamwEma({ ...t, grad, ...betas, nonfinite });
    const after = await Promise.all(Object.values(t).map(bytesOf));
    expect(after.every((bytes, i) => bytes.equals(before[i]!))).toBe(true);
    nonfinite.write([0]);
    ops.adamwEma({ ...t, grad, ...betas, nonfinite });
    expect(Array.from(await t.step.read())).toEqual([1]);
  });

  test('gives the same bytes for 1, 2 and 3 threads', async () => {
    using grad = Tensor.from(gradient(1), [1, size], 'f32');
    await expectSameBytesForAnyThreads(() => {
      const t = tensors();
      ops.adamwEma({ ...t, grad, ...betas });
      return [t.param, t.ema, t.v, t.emaBf16];
    });
  });

  test('refuses a gradient arena of another length', () => {
    const t = tensors();
    using grad = Tensor.zeros([1, size - 1], 'f32');
    expect(() => ops.adamwEma({ ...t, grad, ...betas })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});

describe('countNonfinite', () => {
  test.each(['f32', 'bf16', 'f64'] as const)(
    'counts infinities and NaN, not large or tiny numbers, in %s',
    async (dtype) => {
      const values = randomNormal(70003, 3);
      values.set([Number.POSITIVE_INFINITY, Number.NaN, 3e38, 1e-40], 0);
      values[65536] = Number.NEGATIVE_INFINITY;
      values[70002] = Number.NaN;
      using x = Tensor.from(values, [1, values.length], dtype);
      using count = poisoned([1, 1], 'i32');
      ops.countNonfinite({ x, count });
      expect(Array.from(await count.read())).toEqual([4]);
      ops.countNonfinite({ x, count, accumulate: true });
      expect(Array.from(await count.read())).toEqual([8]);
    },
  );

  test('counts none among finite numbers', async () => {
    using x = Tensor.from(randomNormal(53, 4), [1, 53], 'f32');
    using count = poisoned([1, 1], 'i32');
    ops.countNonfinite({ x, count });
    expect(Array.from(await count.read())).toEqual([0]);
  });

  test('refuses integers', () => {
    using x = Tensor.zeros([1, 4], 'i32');
    using count = Tensor.zeros([1, 1], 'i32');
    expect(() => ops.countNonfinite({ x, count })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }),
    );
  });
});
