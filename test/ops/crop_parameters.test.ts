import { ops } from '../../lib/tensor/ops.js';

const published = { minScale: 0.6, maxScale: 1, minAspect: 3 / 4, maxAspect: 4 / 3, flipProbability: 0.5 };
const boxOf = (seed: number, sample: number, height: number, width: number) =>
  ops.cropParameters({ ...published, seed, sample, height, width });

describe('cropParameters', () => {
  // Means of 100 000 boxes of torchvision's RandomResizedCrop.get_params; standard errors are below 0.3.
  test.each([
    [427, 640, { height: 403.27, width: 478.83, top: 11.84, left: 80.58 }],
    [300, 300, { height: 259.27, width: 259.18, top: 20.37, left: 20.45 }],
  ])('has the distribution of RandomResizedCrop on %i × %i', (height, width, expected) => {
    const count = 40_000;
    const mean = { height: 0, width: 0, top: 0, left: 0 };
    let flips = 0;
    for (let sample = 0; sample < count; sample++) {
      const box = boxOf(5, sample, height, width);
      for (const key of ['height', 'width', 'top', 'left'] as const) mean[key] += box[key] / count;
      flips += box.flip ? 1 : 0;
      const area = (box.height * box.width) / (height * width);
      if (area < 0.59 || box.top + box.height > height || box.left + box.width > width)
        throw new Error(`${sample}`);
    }
    for (const key of ['height', 'width', 'top', 'left'] as const) {
      expect(Math.abs(mean[key] - expected[key])).toBeLessThan(1);
    }
    expect(Math.abs(flips / count - 0.5)).toBeLessThan(0.01);
  });

  test.each([
    [100, 1000, { top: 0, left: 433, height: 100, width: 133 }],
    [1000, 100, { top: 433, left: 0, height: 133, width: 100 }],
    [50, 333, { top: 0, left: 133, height: 50, width: 67 }],
    [801, 99, { top: 334, left: 0, height: 132, width: 99 }],
  ])(
    'takes the centre of %i × %i, where no box fits, and rounds halves to even',
    (height, width, expected) => {
      expect(boxOf(1, 2, height, width)).toMatchObject(expected);
    },
  );

  test('is a function of seed and sample alone, also beyond 32 bits', () => {
    expect(boxOf(3, 7, 400, 300)).toEqual(boxOf(3, 7, 400, 300));
    const others = [boxOf(4, 7, 400, 300), boxOf(3, 8, 400, 300), boxOf(3, 7 + 2 ** 33, 400, 300)];
    for (const other of others) expect(other).not.toEqual(boxOf(3, 7, 400, 300));
  });

  test('mirrors always or never when asked to', () => {
    for (let sample = 0; sample < 50; sample++) {
      const options = { ...published, seed: 1, sample, height: 9, width: 9 };
      expect(ops.cropParameters({ ...options, flipProbability: 1 }).flip).toBe(true);
      expect(ops.cropParameters({ ...options, flipProbability: 0 }).flip).toBe(false);
    }
  });

  test('crops an image of one pixel', () => {
    expect(boxOf(0, 0, 1, 1)).toMatchObject({ top: 0, left: 0, height: 1, width: 1 });
  });

  test('refuses ranges that make no sense', () => {
    const options = { ...published, seed: 1, sample: 1, height: 10, width: 10 };
    for (const wrong of [
      { height: 0 },
      { minScale: 0 },
      { minScale: 1.5 },
      { minAspect: 2 },
      { flipProbability: 2 },
    ]) {
      expect(() => ops.cropParameters({ ...options, ...wrong })).toThrow(
        expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
      );
    }
  });
});

describe('permuteIndex', () => {
  test.each([1, 2, 3, 10, 97, 1000])('visits each of %i images once an epoch', (count) => {
    const order = Array.from({ length: count }, (_, index) =>
      ops.permuteIndex({ seed: 9, epoch: 4, index, count }),
    );
    expect([...order].sort((a, b) => a - b)).toEqual(order.map((_, i) => i));
  });

  test('orders every epoch and seed anew, without a trend', () => {
    const count = 5000;
    const order = (seed: number, epoch: number) =>
      Array.from({ length: count }, (_, index) => ops.permuteIndex({ seed, epoch, index, count }));
    const base = order(1, 0);
    for (const other of [order(1, 1), order(2, 0)]) {
      expect(other.filter((image, i) => image === base[i]).length).toBeLessThan(10);
    }
    const middle = (count - 1) / 2;
    const covariance = base.reduce((sum, image, i) => sum + (image - middle) * (i - middle), 0);
    const variance = (count * (count * count - 1)) / 12;
    expect(Math.abs(covariance / variance)).toBeLessThan(0.06);
  });

  test('puts every image first equally often', () => {
    const seen = new Array<number>(7).fill(0);
    for (let epoch = 0; epoch < 7000; epoch++)
      seen[ops.permuteIndex({ seed: 3, epoch, index: 0, count: 7 })]! += 1;
    for (const times of seen) expect(Math.abs(times - 1000)).toBeLessThan(150);
  });

  test('stays within a dataset of 2^40 images', () => {
    const count = 2 ** 40;
    const image = ops.permuteIndex({ seed: 1, epoch: 0, index: count - 1, count });
    expect(image).toBeGreaterThanOrEqual(0);
    expect(image).toBeLessThan(count);
  });

  test('refuses an index outside the dataset', () => {
    expect(() => ops.permuteIndex({ seed: 1, epoch: 0, index: 5, count: 5 })).toThrow(/index in \[0, 5\)/);
    expect(() => ops.permuteIndex({ seed: 1, epoch: 0, index: 0, count: 0 })).toThrow(/count/);
  });
});
