import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { randomNormal } from '../support/random.js';
import { softCrossEntropyReference } from '../support/sinkhorn.js';
import { Tensor } from '../support/tensor.js';

/** Rows sum to 1, save the last, which is empty. */
function randomTargets(rows: number, columns: number, seed: number): Float32Array {
  const targets = randomNormal(rows * columns, seed).map((x) => Math.exp(3 * x));
  for (let row = 0; row < rows; row++) {
    const part = targets.subarray(row * columns, (row + 1) * columns);
    const sum = part.reduce((total, x) => total + x, 0);
    part.forEach((x, k) => {
      part[k] = row > 0 && row === rows - 1 ? 0 : x / sum;
    });
  }
  return targets;
}

async function run(
  values: ArrayLike<number>,
  targetValues: ArrayLike<number>,
  columns: number,
  dtype: 'f32' | 'bf16',
  inPlace: boolean,
): Promise<{ loss: ArrayLike<number>; gradient: ArrayLike<number> }> {
  const shape = [values.length / columns, columns];
  using logits = Tensor.from(values, shape, dtype);
  using targets = Tensor.from(targetValues, shape, dtype);
  using grad = Tensor.from(new Float32Array(values.length).fill(Number.NaN), shape, dtype);
  using loss = Tensor.from([Number.NaN], [1, 1], 'f64');
  const gradLogits = inPlace ? logits : grad;
  ops.softCrossEntropy({ logits, targets, temperature: 0.12, loss, gradLogits });
  return { loss: await loss.readFloats(), gradient: await gradLogits.readFloats() };
}

describe('softCrossEntropy', () => {
  afterEach(() => addon.setThreads(2));

  test.each([
    [1, 1],
    [1, 53],
    [12, 97],
    [106, 272],
    [9, 1024],
  ])('agrees with float64 at [%i, %i] in f32', async (rows, columns) => {
    const logits = randomNormal(rows * columns, 1);
    const targets = randomTargets(rows, columns, 2);
    const expected = softCrossEntropyReference(logits, targets, columns, 0.12);
    const result = await run(logits, targets, columns, 'f32', false);
    expectClose(result.loss, [expected.loss], { atol: 1e-6, rtol: 1e-6 });
    expectClose(result.gradient, expected.gradient, { atol: 1e-6 / (0.12 * rows), rtol: 2e-6 });
    expect(await run(logits, targets, columns, 'f32', true)).toEqual(result);
  });

  test('is exact arithmetic on bf16 values, rounded once', async () => {
    const [rows, columns] = [53, 106];
    const logits = roundToBf16(randomNormal(rows * columns, 3));
    const targets = roundToBf16(randomTargets(rows, columns, 4));
    const expected = softCrossEntropyReference(logits, targets, columns, 0.12);
    const result = await run(logits, targets, columns, 'bf16', true);
    expectClose(result.loss, [expected.loss], { atol: 0, rtol: 1e-6 });
    expect(maxError(result.gradient, expected.gradient)).toBeLessThanOrEqual(
      2 * maxError(roundToBf16(expected.gradient), expected.gradient),
    );
  });

  test('keeps large logits finite and passes a NaN on', async () => {
    const huge = Float32Array.from([1e4, -1e4, 0, 30]);
    const target = [0, 0, 0.5, 0.5];
    const { loss } = await run(huge, target, 4, 'f32', true);
    expectClose(loss, [softCrossEntropyReference(huge, target, 4, 0.12).loss], { atol: 0, rtol: 1e-6 });
    const broken = await run([1, Number.NaN, 0, 0], target, 4, 'f32', true);
    expect(broken.loss[0]).toBeNaN();
    expect(Array.from(broken.gradient).every(Number.isNaN)).toBe(true);
  });

  test('gives the same bytes with 1, 2 and 3 threads', async () => {
    const logits = randomNormal(97 * 65, 5);
    const targets = randomTargets(97, 65, 6);
    addon.setThreads(1);
    const one = await run(logits, targets, 65, 'f32', true);
    for (const threads of [2, 3]) {
      addon.setThreads(threads);
      expect(await run(logits, targets, 65, 'f32', true)).toEqual(one);
    }
  });

  test('refuses wrong shapes, dtypes and temperatures by code', () => {
    using logits = Tensor.zeros([4, 8], 'f32');
    using targets = Tensor.zeros([4, 7], 'f32');
    using integers = Tensor.zeros([4, 8], 'i32');
    using loss = Tensor.zeros([1, 1], 'f64');
    const good = { logits, targets: logits, temperature: 0.12, loss };
    expect(() => ops.softCrossEntropy({ ...good, targets })).toThrow(
      '[soft_cross_entropy] Expected targets of shape [4, 8] but received [4, 7]',
    );
    expect(() => ops.softCrossEntropy({ ...good, targets: integers })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }),
    );
    expect(() => ops.softCrossEntropy({ ...good, temperature: 0 })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
    );
  });
});
