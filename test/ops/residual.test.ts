import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { testSameBytesAsCpu } from '../support/backends.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNormal } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

const exactly = { atol: 0, rtol: 1.2e-7 };

describe('residualForward', () => {
  test.each([
    ['f32', 'f32', 53],
    ['bf16', 'bf16', 53],
    ['f32', 'bf16', 53],
    ['bf16', 'f32', 53],
    ['f32', 'f32', 136],
    ['bf16', 'bf16', 264],
    ['f32', 'bf16', 264],
    ['bf16', 'f32', 264],
  ] as const)('adds the branch to the kept images, %s += %s of %i', async (dtype, branchDtype, dim) => {
    const [rows, scale] = [11, 5 / 2];
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

  test('finds images in a list of any order and length', async () => {
    const count = 75;
    const order = Array.from({ length: count }, (_, i) => (i * 31) % (count + 2)); // but two
    using x = Tensor.zeros([count + 2, 1], 'f32');
    using branch = Tensor.from(
      order.map((image) => image + 1),
      [count, 1],
      'f32',
    );
    using images = Tensor.from(order, [1, count], 'i32');
    ops.residualForward({ x, branch, y: x, images, rows: 1 });
    const expected = Array.from({ length: count + 2 }, (_, i) => (order.includes(i) ? i + 1 : 0));
    expect(Array.from(await x.readFloats())).toEqual(expected);
  });

  test('reads and writes strided rows', async () => {
    const grid = Array.from({ length: 4 * 24 }, (_, i) => i);
    using x = Tensor.from(grid, [4, 24], 'f32');
    using branch = Tensor.from(grid, [4, 24], 'f32');
    using images = Tensor.from([1], [1, 1], 'i32');
    using y = poisoned([4, 24], 'f32');
    const columns = [x, y].map((tensor) => tensor.columnRange(8, 24)) as [Tensor, Tensor];
    const part = branch.rowRange(0, 2).columnRange(4, 20);
    ops.residualForward({ x: columns[0], branch: part, y: columns[1], images, rows: 2 });
    const expected = grid.map((value, i) => {
      if (i % 24 < 8) return Number.NaN;
      return i < 48 ? value : value + (value - 48 - 4);
    });
    expect(Array.from(await y.readFloats())).toEqual(expected);
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
  test.each([
    ['f32', 'f32', 97],
    ['bf16', 'f32', 97],
    ['f32', 'bf16', 136],
    ['bf16', 'bf16', 264],
    ['f32', 'f32', 136],
  ] as const)(
    'takes and scales the gradient of the kept images, %s to %s of %i',
    async (dtype, branchDtype, dim) => {
      const [rows, scale] = [3, 1.25];
      const gradY = randomNormal(4 * rows * dim, 3);
      using tg = Tensor.from(gradY, [4 * rows, dim], dtype);
      using images = Tensor.from([0, 2, 3], [1, 3], 'i32');
      using gradBranch = poisoned([3 * rows, dim], branchDtype);
      ops.residualGather({ gradY: tg, gradBranch, images, rows, scale });
      const read = dtype === 'bf16' ? roundToBf16(gradY) : gradY;
      const scaled = [0, 2, 3].flatMap((image) =>
        Array.from(read.subarray(image * rows * dim, (image + 1) * rows * dim), (value) => value * scale),
      );
      const expected = branchDtype === 'bf16' ? roundToBf16(scaled) : scaled;
      expectClose(await gradBranch.readFloats(), expected, exactly);
    },
  );

  test('takes every image when none are named, and makes NaN of one beyond the batch', async () => {
    using gradY = Tensor.from([1, 2, 3, 4], [2, 2], 'f32');
    using all = poisoned([2, 2], 'f32');
    ops.residualGather({ gradY, gradBranch: all, rows: 1, scale: 2 });
    expect(await all.readFloats()).toEqual(Float32Array.of(2, 4, 6, 8));
    using images = Tensor.from([2, -1], [1, 2], 'i32');
    using none = Tensor.zeros([2, 2], 'f32');
    ops.residualGather({ gradY, gradBranch: none, images, rows: 1 });
    expect(Array.from(await none.readFloats())).toEqual(new Array(4).fill(Number.NaN));
  });

  testSameBytes(() => {
    const gradY = Tensor.from(randomNormal(6 * 53 * 64, 4), [6 * 53, 64], 'bf16');
    const images = Tensor.from([5, 0], [1, 2], 'i32');
    const gradBranch = poisoned([2 * 53, 64], 'f32');
    ops.residualGather({ gradY, gradBranch, images, rows: 53, scale: 3 });
    return [gradBranch, gradY, images];
  });
});

describe('dropPathIndices', () => {
  const draw = async (batch: number, kept: number, branches: number, seed: number, iteration: number) => {
    using indices = poisoned([branches, kept], 'i32');
    using number = Tensor.from([iteration], [1, 1], 'i32');
    ops.dropPathIndices({ indices, iteration: number, batch, seed });
    return Array.from(await indices.read());
  };

  test('draws ascending subsets, each image as often as every other', async () => {
    const [batch, kept, branches] = [10, 4, backend === 'cpu' ? 5000 : 1000];
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

  test('draws what it drew in earlier versions: runs go on from their checkpoints', async () => {
    using indices = poisoned([2, 5], 'i32');
    using iteration = Tensor.from([70000], [1, 1], 'i32');
    ops.dropPathIndices({ indices, iteration, batch: 12, seed: 3, firstBranch: 1 });
    expect(Array.from(await indices.read())).toEqual([2, 4, 6, 8, 11, 1, 2, 4, 10, 11]);
  });

  if (backend === 'cuda') {
    test('draws anew when a captured graph is replayed', async () => {
      using indices = poisoned([3, 20], 'i32');
      using iteration = Tensor.from([0], [1, 1], 'i32');
      const graph = new addon.Graph();
      graph.begin();
      ops.dropPathIndices({ indices, iteration, batch: 64, seed: 3 });
      graph.end();
      for (const number of [1, 2]) {
        iteration.write([number]);
        graph.replay();
        const replayed = Array.from(await indices.read());
        expect(replayed).toEqual(await draw(64, 20, 3, 3, number));
      }
      graph.dispose();
    });
  }

  testSameBytesAsCpu('subsets', (make) => {
    const indices = make(new Int32Array(40 * 51).fill(-1), [40, 51], 'i32');
    const iteration = make([123456], [1, 1], 'i32');
    ops.dropPathIndices({ indices, iteration, batch: 64, seed: 2 ** 40 + 1, firstBranch: 40 });
    return [indices];
  });

  test('refuses more kept images than there are, and an iteration that is not one i32', () => {
    using indices = Tensor.zeros([1, 5], 'i32');
    using iteration = Tensor.zeros([1, 1], 'i32');
    using real = Tensor.zeros([1, 1], 'f32');
    using two = Tensor.zeros([1, 2], 'i32');
    const run = (batch: number, of: Tensor) =>
      ops.dropPathIndices({ indices, iteration: of, batch, seed: 0 });
    expect(() => run(4, iteration)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }));
    expect(() => run(5, real)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }));
    expect(() => run(5, two)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }));
  });
});
