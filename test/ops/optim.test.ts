import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { type AdamwState, adamwReference } from '../support/adamw_reference.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { bytesOf, poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

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

  testSameBytes(() => {
    using grad = Tensor.from(gradient(1), [1, size], 'f32');
    const t = tensors();
    ops.adamwEma({ ...t, grad, ...betas });
    return [t.param, t.ema, t.v, t.emaBf16, t.step];
  });

  test('gives the same parameters without a moving average and copies', async () => {
    const [all, bare] = [tensors(), tensors()];
    const { ema: _ema, emaBf16: _emaBf16, paramBf16: _paramBf16, ...few } = bare;
    using grad = Tensor.from(gradient(1), [1, size], 'f32');
    ops.adamwEma({ ...all, grad, ...betas });
    ops.adamwEma({ ...few, grad, ...betas });
    expect((await bytesOf(bare.param)).equals(await bytesOf(all.param))).toBe(true);
    expect((await bytesOf(bare.ema)).equals(Buffer.from(firstEma.buffer))).toBe(true);
  });

  const arenas = ['param', 'm', 'v', 'ema', 'paramBf16', 'emaBf16', 'grad'] as const;
  test.each([[...arenas], ...arenas.map((name) => [name])])(
    'takes arenas that begin anywhere: %s',
    async (...names) => {
      const t = tensors();
      using grad = Tensor.from(gradient(1), [1, size], 'f32');
      const moved = { ...tensors(), grad };
      for (const name of names) {
        const from = { ...t, grad }[name];
        moved[name] = poisoned([1, size + 1], from.dtype).columnRange(1, size + 1);
        ops.copy({ x: from, y: moved[name] });
      }
      ops.adamwEma({ ...t, grad, ...betas });
      ops.adamwEma({ ...moved, ...betas });
      const close = { atol: 1e-9, rtol: 1e-7 };
      expectClose(await moved.param.readFloats(), await t.param.readFloats(), close);
      expectClose(await moved.v.readFloats(), await t.v.readFloats(), close);
      expectClose(await moved.ema.readFloats(), await t.ema.readFloats(), close);
      expectClose(await moved.emaBf16.readFloats(), await t.emaBf16.readFloats(), { atol: 0, rtol: 2 ** -7 });
    },
  );

  if (backend === 'cuda') {
    test('takes its rates and the number of its step from the device when it is replayed', async () => {
      const [captured, plain] = [tensors(), tensors()];
      using grad = Tensor.from(gradient(1), [1, size], 'f32');
      const graph = new addon.Graph();
      const scalars = (step: number) => [rates.lr * step, rates.weightDecay, 0.9, 0];
      for (const step of [1, 2, 3]) {
        captured.scalars.write(scalars(step));
        if (step === 1) ops.adamwEma({ ...captured, grad, ...betas }); // asks for scratch, as no recording may
        if (step === 2) {
          graph.begin();
          ops.adamwEma({ ...captured, grad, ...betas });
          graph.end();
        }
        if (step > 1) graph.replay();
        plain.scalars.write(scalars(step));
        ops.adamwEma({ ...plain, grad, ...betas });
      }
      expect((await bytesOf(captured.param)).equals(await bytesOf(plain.param))).toBe(true);
      expect((await bytesOf(captured.ema)).equals(await bytesOf(plain.ema))).toBe(true);
      expect(Array.from(await captured.step.read())).toEqual([3]);
      graph.dispose();
    });
  }

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
      values.fill(Number.NaN, 70000);
      using x = Tensor.from(values, [1, values.length], dtype);
      using count = poisoned([1, 1], 'i32');
      ops.countNonfinite({ x, count });
      expect(Array.from(await count.read())).toEqual([6]);
      ops.countNonfinite({ x, count, accumulate: true });
      expect(Array.from(await count.read())).toEqual([12]);
    },
  );

  test.each(['f32', 'bf16', 'f64'] as const)('keeps to its view in %s', async (dtype) => {
    for (const [begin, end] of [
      [16, 1001],
      [1, 1000],
    ] as const) {
      const values = new Float32Array(1008).fill(Number.NaN);
      values.fill(0, begin + 1, end - 1);
      using x = Tensor.from(values, [1, values.length], dtype);
      using count = poisoned([1, 1], 'i32');
      ops.countNonfinite({ x: x.columnRange(begin, end), count });
      expect(Array.from(await count.read())).toEqual([2]);
    }
  });

  test('stops at the largest count', async () => {
    using x = Tensor.from([Number.NaN, Number.NaN, 1], [1, 3], 'f32');
    using count = Tensor.from([2 ** 31 - 2], [1, 1], 'i32');
    ops.countNonfinite({ x, count, accumulate: true });
    expect(Array.from(await count.read())).toEqual([2 ** 31 - 1]);
  });

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
