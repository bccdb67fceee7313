import { ops } from '../../lib/tensor/ops.js';
import { Tensor as LibraryTensor } from '../../lib/tensor/tensor.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { bytesOf, poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

describe('zero and copy', () => {
  test.each(['f32', 'bf16', 'f64', 'i32', 'u8'] as const)('move all of %s', async (dtype) => {
    const size = 70001; // more than one task but of u8, and a ragged end
    using x = poisoned([1, size], dtype);
    using y = Tensor.from(new Array<number>(size).fill(1), [1, size], dtype);
    ops.copy({ x: y, y: x });
    expect((await bytesOf(x)).equals(await bytesOf(y))).toBe(true);
    ops.zero({ x });
    expect((await bytesOf(x)).equals(Buffer.alloc(x.bytes))).toBe(true);
  });

  test('keep to the columns of a strided view', async () => {
    using x = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3], 'f32');
    using y = Tensor.from([9, 9, 9, 9], [2, 2], 'f32');
    ops.zero({ x: x.columnRange(1, 2) });
    ops.copy({ x: x.columnRange(1, 3), y });
    expect(Array.from(await x.readFloats())).toEqual([1, 0, 3, 4, 0, 6]);
    expect(Array.from(await y.readFloats())).toEqual([0, 3, 0, 6]);
  });

  test('refuse two dtypes', () => {
    using x = Tensor.zeros([2, 2], 'f32');
    using y = Tensor.zeros([2, 2], 'bf16');
    expect(() => ops.copy({ x, y })).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }));
  });
});

describe('cast', () => {
  test.each([1, 53, 97, 66001])('rounds %i numbers to nearest even and back', async (size) => {
    const values = randomNormal(size, 1);
    values[0] = Number.NaN;
    if (size > 3) values.set([Number.POSITIVE_INFINITY, 1 + 2 ** -8, 1e-40], 1);
    using x = Tensor.from(values, [1, size], 'f32');
    using half = poisoned([1, size], 'bf16');
    using back = poisoned([1, size], 'f32');
    ops.cast({ x, y: half });
    ops.cast({ x: half, y: back });
    // NaN has many bit patterns, of which backends choose theirs.
    expectClose(await half.readFloats(), roundToBf16(values), { atol: 0, rtol: 0 });
    expect((await bytesOf(back)).equals(Buffer.from((await half.readFloats()).buffer))).toBe(true);
  });

  test.each([
    ['f32', 'f32'],
    ['f32', 'bf16'],
    ['bf16', 'f32'],
    ['bf16', 'bf16'],
  ] as const)('keeps to the columns of strided views, %s to %s', async (from, to) => {
    const [rows, cols] = [5, 1200];
    const values = roundToBf16(randomNormal(rows * cols, 2));
    using x = Tensor.from(values, [rows, cols], from);
    const width = 1189;
    for (const [begin, beginY] of [
      [8, 0], // rows begin at multiples of 16 bytes and end anywhere
      [3, 0],
      [8, 3],
    ] as const) {
      using y = Tensor.zeros([rows, cols], to);
      ops.cast({ x: x.columnRange(begin, begin + width), y: y.columnRange(beginY, beginY + width) });
      const expected = values.map((_, i) => {
        const col = (i % cols) - beginY;
        return col >= 0 && col < width ? values[i - beginY + begin]! : 0;
      });
      expectClose(await y.readFloats(), expected, { atol: 0, rtol: 0 });
    }
  });

  test('refuses integers', () => {
    using x = Tensor.zeros([2, 2], 'i32');
    using y = Tensor.zeros([2, 2], 'f32');
    expect(() => ops.cast({ x, y })).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }));
  });
});

describe('fillRandom', () => {
  const fill = async (
    size: number,
    options: { distribution: 'uniform' | 'normal'; scale: number; seed: number; stream: number },
  ) => {
    using x = poisoned([1, size], 'f32');
    ops.fillRandom({ x, ...options });
    return Array.from(await x.readFloats());
  };
  const moment = (values: number[], power: number) =>
    values.reduce((total, value) => total + value ** power, 0) / values.length;

  test('draws U(-scale, scale), evenly', async () => {
    const values = await fill(40003, { distribution: 'uniform', scale: 3, seed: 1, stream: 2 });
    const bins = new Array<number>(20).fill(0);
    expect(values.every((value) => Math.abs(value) < 3)).toBe(true);
    for (const value of values) {
      bins[Math.floor(((value + 3) / 6) * 20)]! += 1;
    }
    const mean = values.length / 20;
    const chiSquare = bins.reduce((total, count) => total + (count - mean) ** 2 / mean, 0);
    expect(chiSquare).toBeLessThan(43.8); // .001 of the distribution with 19 degrees of freedom
  });

  test('draws N(0, scale²), by its first four moments and its tails', async () => {
    const values = await fill(40003, { distribution: 'normal', scale: 2, seed: 3, stream: 0 });
    expect(Math.abs(moment(values, 1))).toBeLessThan(0.03);
    expect(moment(values, 2) / 4).toBeCloseTo(1, 1);
    expect(Math.abs(moment(values, 3) / 8)).toBeLessThan(0.1);
    expect(Math.abs(moment(values, 4) / 16 - 3)).toBeLessThan(0.2);
    const beyond = values.filter((value) => Math.abs(value) > 2 * 1.959964).length / values.length;
    expect(Math.abs(beyond - 0.05)).toBeLessThan(0.005);
  });

  test('is a function of seed, stream and element', async () => {
    const options = { distribution: 'uniform', scale: 1, seed: 5, stream: 6 } as const;
    const values = await fill(53, options);
    expect((await fill(97, options)).slice(0, 53)).toEqual(values);
    expect(await fill(53, { ...options, seed: 6 })).not.toEqual(values);
    expect(await fill(53, { ...options, stream: 7 })).not.toEqual(values);
  });

  testSameBytes(() => {
    const x = poisoned([3, 10001], 'bf16');
    ops.fillRandom({ x, distribution: 'normal', scale: 0.02, seed: 1, stream: 1 });
    return [x];
  });

  test.each(['f32', 'bf16'] as const)('keeps to its view in %s', async (dtype) => {
    for (const distribution of ['uniform', 'normal'] as const) {
      for (const begin of [8, 3]) {
        using x = poisoned([1, 80], dtype);
        const options = { distribution, scale: 1, seed: 1, stream: 1 };
        ops.fillRandom({ x: x.columnRange(begin, begin + 53), ...options });
        const filled = Array.from(await x.readFloats(), Number.isNaN);
        expect(filled).toEqual(filled.map((_, i) => i < begin || i >= begin + 53));
      }
    }
  });

  if (backend === 'cuda') {
    test.each(['f32', 'bf16'] as const)("gives the CPU's numbers in %s", async (dtype) => {
      const size = 5003;
      using there = LibraryTensor.zeros([1, size], dtype, 'cpu');
      using aligned = poisoned([1, size], dtype);
      using padded = poisoned([1, size + 1], dtype);
      for (const here of [aligned, padded.columnRange(1, size + 1)]) {
        for (const distribution of ['uniform', 'normal'] as const) {
          const options = { distribution, scale: 0.3, seed: 2 ** 40 + 3, stream: 2 ** 32 - 1 };
          ops.fillRandom({ x: there, ...options });
          ops.fillRandom({ x: here, ...options });
          const expected = await there.readFloats();
          if (distribution === 'uniform') expect(await here.readFloats()).toEqual(expected);
          const rounding = dtype === 'f32' ? 2 ** -23 : 2 ** -7;
          expectClose(await here.readFloats(), expected, { atol: 1e-12, rtol: rounding });
        }
      }
    });
  }

  test('refuses a negative stream', () => {
    using x = Tensor.zeros([1, 4], 'f32');
    expect(() => ops.fillRandom({ x, distribution: 'normal', scale: 1, seed: 1, stream: -1 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});

describe('sumRows', () => {
  test.each([
    [1, 1],
    [53, 97],
    [530, 53],
    [9, 1100],
    [300, 264],
    [66001, 3], // sums of sums of sums
  ])('agrees with float64 at [%i, %i]', async (rows, cols) => {
    for (const dtype of ['f32', 'bf16'] as const) {
      const values = randomNormal(rows * cols, 7);
      const x = dtype === 'bf16' ? roundToBf16(values) : values;
      const expected = new Float64Array(cols);
      x.forEach((value, i) => {
        expected[i % cols]! += value * 0.5;
      });
      using tx = Tensor.from(x, [rows, cols], dtype);
      using y = poisoned([1, cols], 'f32');
      ops.sumRows({ x: tx, y, scale: 0.5 });
      expectClose(await y.readFloats(), expected, { atol: 1e-5, rtol: 1e-6 });
    }
  });

  test.each([
    ['f32', 8, 264],
    ['f32', 3, 300],
    ['bf16', 8, 264],
    ['bf16', 3, 300],
  ] as const)('keeps to the columns of a strided view in %s, %i to %i', async (dtype, begin, end) => {
    const [rows, cols] = [270, 304];
    const values = roundToBf16(randomNormal(rows * cols, 9));
    const expected = new Float64Array(end - begin);
    values.forEach((value, i) => {
      if (i % cols >= begin && i % cols < end) expected[(i % cols) - begin]! += value;
    });
    using x = Tensor.from(values, [rows, cols], dtype);
    using y = poisoned([1, cols], 'f32');
    ops.sumRows({ x: x.columnRange(begin, end), y: y.columnRange(1, 1 + end - begin) });
    const sums = await y.readFloats();
    expectClose(sums.slice(1, 1 + end - begin), expected, { atol: 1e-5, rtol: 1e-6 });
    expect(sums[0]).toBeNaN();
    expect(sums[1 + end - begin]).toBeNaN();
  });

  testSameBytes(() => {
    using x = Tensor.from(randomNormal(600 * 53, 8), [600, 53], 'f32');
    const y = poisoned([1, 53], 'f32');
    ops.sumRows({ x, y });
    return [y];
  });

  test('refuses a column as the result', () => {
    using x = Tensor.zeros([4, 8], 'f32');
    using y = Tensor.zeros([8, 1], 'f32');
    expect(() => ops.sumRows({ x, y })).toThrow(expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }));
  });
});
