import { ops } from '../../lib/tensor/ops.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { expectSameBytesForAnyThreads, poisoned } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const exactly = { atol: 0, rtol: 1.2e-7 };

describe('residualForward', () => {
  test.each([
    ['f32', 'f32'],
    ['bf16', 'bf16'],
    ['f32', 'bf16'],
  ] as const)('adds the branch to the kept images, %s += %s', async (dtype, branchDtype) => {
    const [rows, dim, scale] = [7, 53, 5 / 2];
    const round = (values: Float32Array, type: string) => (type === 'bf16' ? roundToBf16(values) : values);
    const x = round(randomNormal(5 * rows * dim, 1), dtype);
    const branch = round(randomNormal(2 * rows * dim, 2), branchDtype);
    const expected = Float32Array.from(x);
    [1, 4].forEach((image, j) => {
      for (let i = 0; i < rows * dim; i++) {
        const k = image * rows * dim + i;
        expected[k] = Math.fround(expected[k]! + scale * branch[j * rows * dim + i]!);
      }
    });
    using tx = Tensor.from(x, [5 * rows, dim], dtype);
    using tb = Tensor.from(branch, [2 * rows, dim], branchDtype);
    using y = poisoned([5 * rows, dim], dtype);
    using images = Tensor.from([1, 4], [1, 2], 'i32');
    ops.residualForward({ x: tx, branch: tb, y, images, rows, scale });
    expectClose(await y.readFloats(), round(expected, dtype), { atol: 1e-6, rtol: 1e-6 });
    // In place, too.
    ops.residualForward({ x: tx, branch: tb, y: tx, images, rows, scale });
    expect(await tx.read()).toEqual(await y.read());
  });

  test('adds to every image when none are named', async () => {
    using x = Tensor.from([1, 2, 3, 4], [2, 2], 'f32');
    using branch = Tensor.from([10, 20, 30, 40], [2, 2], 'f32');
    ops.residualForward({ x, branch, y: x, rows: 1 });
    expect(await x.readFloats()).toEqual(Float32Array.of(11, 22, 33, 44));
  });

  test('leaves out an image number beyond the batch', async () => {
    using x = Tensor.from([1, 2], [2, 1], 'f32');
    using branch = Tensor.from([10, 20], [2, 1], 'f32');
    using images = Tensor.from([7, 0], [1, 2], 'i32');
    ops.residualForward({ x, branch, y: x, images, rows: 1 });
    expect(await x.readFloats()).toEqual(Float32Array.of(21, 2));
  });

  test('refuses a branch of another number of rows', () => {
    using x = Tensor.zeros([6, 4], 'f32');
    using branch = Tensor.zeros([3, 4], 'f32');
    using images = Tensor.from([0, 1], [1, 2], 'i32');
    expect(() => ops.residualForward({ x, branch, y: x, images, rows: 2 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
    expect(() => ops.residualForward({ x, branch, y: x, rows: 4 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});

describe('residualGather', () => {
  test('takes and scales the gradient of the kept images, and is the transpose of forward', async () => {
    const [rows, dim, scale] = [3, 97, 1.25];
    const gradY = randomNormal(4 * rows * dim, 3);
    using tg = Tensor.from(gradY, [4 * rows, dim], 'f32');
    using images = Tensor.from([0, 2, 3], [1, 3], 'i32');
    using gradBranch = poisoned([3 * rows, dim], 'f32');
    ops.residualGather({ gradY: tg, gradBranch, images, rows, scale });
    const expected = [0, 2, 3].flatMap((image) =>
      Array.from(gradY.subarray(image * rows * dim, (image + 1) * rows * dim), (value) => value * scale),
    );
    expectClose(await gradBranch.readFloats(), expected, exactly);
  });

  test('gives the same bytes for 1, 2 and 3 threads', async () => {
    using gradY = Tensor.from(randomNormal(6 * 53 * 64, 4), [6 * 53, 64], 'bf16');
    using images = Tensor.from([5, 0], [1, 2], 'i32');
    await expectSameBytesForAnyThreads(() => {
      const gradBranch = poisoned([2 * 53, 64], 'f32');
      ops.residualGather({ gradY, gradBranch, images, rows: 53, scale: 3 });
      return [gradBranch];
    });
  });
});

describe('dropPathIndices', () => {
  const draw = async (batch: number, kept: number, branches: number, seed: number, iteration: number) => {
    using indices = poisoned([branches, kept], 'i32');
    ops.dropPathIndices({ indices, batch, seed, iteration });
    return Array.from(await indices.read());
  };

  test('draws ascending subsets, each image as often as every other', async () => {
    const [batch, kept, branches] = [10, 4, 5000];
    const all = await draw(batch, kept, branches, 1, 0);
    const counts = new Array<number>(batch).fill(0);
    all.forEach((image, i) => {
      if (i % kept > 0) expect(image).toBeGreaterThan(all[i - 1]!);
      counts[image]! += 1;
    });
    const mean = (branches * kept) / batch;
    // Fixed seed; 5 standard deviations of a draw without replacement.
    for (const count of counts) expect(Math.abs(count - mean)).toBeLessThan(5 * Math.sqrt(mean * 0.6));
  });

  test('is a function of seed, iteration and branch', async () => {
    const first = await draw(64, 51, 6, 3, 7);
    expect(await draw(64, 51, 6, 3, 7)).toEqual(first);
    expect((await draw(64, 51, 9, 3, 7)).slice(0, first.length)).toEqual(first);
    expect(await draw(64, 51, 6, 4, 7)).not.toEqual(first);
    expect(await draw(64, 51, 6, 3, 8)).not.toEqual(first);
  });

  test('keeps every image when n_keep is the batch', async () => {
    expect(await draw(5, 5, 1, 0, 0)).toEqual([0, 1, 2, 3, 4]);
  });

  test('refuses more kept images than there are', () => {
    using indices = Tensor.zeros([1, 5], 'i32');
    expect(() => ops.dropPathIndices({ indices, batch: 4, seed: 0, iteration: 0 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});
