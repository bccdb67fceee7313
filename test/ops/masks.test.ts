import { ops } from '../../lib/tensor/ops.js';
import { testSameBytesAsCpu } from '../support/backends.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { randomNumbers } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

interface Kind {
  readonly kind: 'uniform' | 'block' | 'inverse_block';
  readonly roll: boolean;
  readonly gridRows: number;
  readonly gridCols: number;
  readonly nMasked: number;
}

/** Sample numbers first, first + 1, … as low and high words. */
function sampleNumbers(count: number, first = 0): Tensor {
  const words = Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? first + i / 2 : 0));
  return Tensor.from(words, [count, 2], 'i32');
}

/** Visible and predicted patches of each image, as numbers within the image. */
async function draw(of: Kind, images: number, nPredict: number, seed: number) {
  const patches = of.gridRows * of.gridCols;
  using samples = sampleNumbers(images);
  using visible = poisoned([1, images * (patches - of.nMasked)], 'i32');
  const predict = nPredict > 0 ? poisoned([1, images * nPredict], 'i32') : undefined;
  ops.generateMasks({ ...of, seed, samples, visible, predict });
  const split = (values: ArrayLike<number>, each: number) => {
    const all = Int32Array.from(values);
    return Array.from({ length: images }, (_, image) =>
      Array.from(all.subarray(image * each, (image + 1) * each), (index) => index - image * patches),
    );
  };
  return {
    visible: split(await visible.read(), patches - of.nMasked),
    predicted: predict ? split(await predict.read(), nPredict) : [],
  };
}

/** The same masks in plain TypeScript, from METHOD section 3: counts of how often each patch is in the block. */
function blockFrequencies(
  rows: number,
  cols: number,
  cells: number,
  samples: number,
  seed: number,
): number[] {
  const next = randomNumbers(seed);
  const counts = new Array<number>(rows * cols).fill(0);
  for (let sample = 0; sample < samples; sample++) {
    const low = Math.max(Math.log(0.5), Math.log(cells / cols ** 2));
    const high = Math.min(Math.log(2), Math.log(rows ** 2 / (cells + 1e-5)));
    const aspect = Math.exp(low + (high - low) * next());
    const height = Math.ceil(Math.sqrt(cells * aspect));
    const width = Math.ceil(Math.sqrt(cells / aspect));
    const top = Math.floor(next() * (rows - height + 1));
    const left = Math.floor(next() * (cols - width + 1));
    for (let cell = 0; cell < cells; cell++) {
      const patch = (top + Math.floor(cell / width)) * cols + left + (cell % width);
      counts[patch]! += 1;
    }
  }
  return counts;
}

function frequencies(sets: readonly (readonly number[])[], patches: number): number[] {
  const counts = new Array<number>(patches).fill(0);
  for (const set of sets) for (const patch of set) counts[patch]! += 1;
  return counts;
}

const inverse: Kind = { kind: 'inverse_block', roll: false, gridRows: 8, gridCols: 8, nMasked: 41 };

describe('generateMasks', () => {
  test.each<Kind>([
    inverse,
    { ...inverse, roll: true },
    { kind: 'block', roll: true, gridRows: 16, gridCols: 16, nMasked: 166 },
    { kind: 'uniform', roll: false, gridRows: 5, gridCols: 9, nMasked: 20 },
    { kind: 'inverse_block', roll: true, gridRows: 1, gridCols: 6, nMasked: 3 },
    { kind: 'block', roll: false, gridRows: 13, gridCols: 2, nMasked: 17 },
  ])('shows and predicts exactly as many patches as asked, ascending and apart: %j', async (of) => {
    const { visible, predicted } = await draw(of, 100, 2, 1);
    const patches = of.gridRows * of.gridCols;
    for (let image = 0; image < 100; image++) {
      for (const list of [visible[image]!, predicted[image]!]) {
        expect(list).toEqual([...new Set(list)].sort((a, b) => a - b));
        expect(list.every((patch) => patch >= 0 && patch < patches)).toBe(true);
      }
      expect(predicted[image]!.filter((patch) => visible[image]!.includes(patch))).toEqual([]);
    }
  });

  // Fixed seeds, so these either always pass or never. One standard deviation of the difference of two
  // frequencies over 8 000 samples is .008 at most, over 2 000 .016.
  test.each([
    [8, 8, 23],
    [16, 16, 90],
    [6, 9, 14],
  ])('puts the block where the method says, on %i x %i with %i cells', async (gridRows, gridCols, cells) => {
    const samples = backend === 'cpu' ? 8000 : 2000;
    const expected = blockFrequencies(gridRows, gridCols, cells, samples, 5);
    const patches = gridRows * gridCols;
    const grid = { roll: false, gridRows, gridCols };
    const shown = await draw({ ...grid, kind: 'inverse_block', nMasked: patches - cells }, samples, 0, 2);
    const masked = await draw({ ...grid, kind: 'block', nMasked: cells }, samples, 0, 3);
    const blocks = [
      frequencies(shown.visible, patches),
      frequencies(masked.visible, patches).map((count) => samples - count),
    ];
    for (const block of blocks) {
      const differences = block.map((count, patch) => Math.abs(count - expected[patch]!) / samples);
      expect(Math.max(...differences)).toBeLessThan(backend === 'cpu' ? 0.04 : 0.08);
    }
  });

  test.each(['uniform', 'block', 'inverse_block'] as const)(
    'shows every patch equally often: %s, rolled',
    async (kind) => {
      const samples = backend === 'cpu' ? 10000 : 2000;
      const { visible, predicted } = await draw({ ...inverse, kind, roll: true }, samples, 4, 4);
      const expected = (samples * 23) / 64;
      for (const count of frequencies(visible, 64)) {
        expect(Math.abs(count - expected)).toBeLessThan(5 * Math.sqrt(expected * (41 / 64)));
      }
      const mean = (samples * 4) / 64;
      for (const count of frequencies(predicted, 64)) {
        expect(Math.abs(count - mean)).toBeLessThan(5 * Math.sqrt(mean));
      }
    },
  );

  test('depends on seed and sample number only', async () => {
    const run = async (seed: number, first: number, images: number) => {
      using samples = sampleNumbers(images, first);
      using visible = poisoned([1, images * 23], 'i32');
      ops.generateMasks({ ...inverse, roll: true, seed, samples, visible });
      return Array.from(await visible.read());
    };
    const [one, two] = [await run(1, 10, 1), await run(1, 11, 1)];
    expect(await run(1, 10, 2)).toEqual([...one, ...two.map((index) => index + 64)]);
    expect(await run(2, 10, 1)).not.toEqual(one);
  });

  testSameBytes(() => {
    const samples = sampleNumbers(50);
    const visible = poisoned([1, 50 * 23], 'i32');
    const predict = poisoned([1, 50 * 8], 'i32');
    ops.generateMasks({ ...inverse, seed: 9, samples, visible, predict });
    return [visible, predict, samples];
  });

  // Aspects of 1, 2 and 1/4 make boxes of whole cells, whose size hangs on the last bit of a double.
  testSameBytesAsCpu('every kind of mask', (make) => {
    const count = 40;
    const samples = make(
      Array.from({ length: 2 * count }, (_, i) => i * 7919),
      [count, 2],
      'i32',
    );
    return (['uniform', 'block', 'inverse_block'] as const).flatMap((kind) =>
      [
        [0.5, 2],
        [1, 1],
        [2, 2],
        [0.25, 0.25],
        [1e-9, 1e9],
      ].flatMap(([minAspect, maxAspect], i) => {
        const [gridRows, gridCols, nMasked] = [8 - i, 9, 32 - i];
        const nVisible = gridRows * gridCols - nMasked;
        const visible = make(new Int32Array(count * nVisible).fill(-1), [1, count * nVisible], 'i32');
        const predict = make(new Int32Array(count * 5).fill(-1), [1, count * 5], 'i32');
        const grid = { gridRows, gridCols, nMasked, minAspect, maxAspect };
        ops.generateMasks({ kind, ...grid, roll: i % 2 === 0, seed: i, samples, visible, predict });
        return [visible, predict];
      }),
    );
  });

  test('shows nothing where everything is masked', async () => {
    using samples = sampleNumbers(2);
    using predict = poisoned([1, 2 * 6], 'i32');
    ops.generateMasks({ ...inverse, gridRows: 2, gridCols: 3, nMasked: 6, seed: 0, samples, predict });
    expect(Array.from(await predict.read())).toEqual(Array.from({ length: 12 }, (_, i) => i));
  });

  test('refuses counts that do not fit the grid', () => {
    using samples = sampleNumbers(2);
    using visible = Tensor.zeros([1, 45], 'i32');
    using predict = Tensor.zeros([1, 2 * 42], 'i32');
    using right = Tensor.zeros([1, 46], 'i32');
    const shape = expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' });
    expect(() => ops.generateMasks({ ...inverse, seed: 0, samples, visible })).toThrow(shape);
    expect(() => ops.generateMasks({ ...inverse, seed: 0, samples, visible: right, predict })).toThrow(shape);
    expect(() => ops.generateMasks({ ...inverse, nMasked: 65, seed: 0, samples, visible })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});
