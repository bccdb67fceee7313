import { ops } from '../../lib/tensor/ops.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
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

type LogitsDtype = 'f32' | 'bf16';
interface Options {
  readonly dtype?: LogitsDtype;
  /** That of the logits when absent. */
  readonly targetsDtype?: LogitsDtype;
  /** The gradient takes the place of the logits. */
  readonly inPlace?: boolean;
}

function enqueue(
  values: ArrayLike<number>,
  targetValues: ArrayLike<number>,
  columns: number,
  { dtype = 'f32', targetsDtype = dtype, inPlace = true }: Options = {},
): readonly [loss: Tensor, gradient: Tensor] {
  const shape = [values.length / columns, columns];
  const logits = Tensor.from(values, shape, dtype);
  using targets = Tensor.from(targetValues, shape, targetsDtype);
  const gradLogits = inPlace ? logits : poisoned(shape, dtype);
  const loss = poisoned([1, 1], 'f64');
  ops.softCrossEntropy({ logits, targets, temperature: 0.12, loss, gradLogits });
  if (!inPlace) logits[Symbol.dispose]();
  return [loss, gradLogits];
}

async function run(
  values: ArrayLike<number>,
  targetValues: ArrayLike<number>,
  columns: number,
  options: Options = {},
): Promise<{ loss: ArrayLike<number>; gradient: ArrayLike<number> }> {
  const [loss, gradient] = enqueue(values, targetValues, columns, options);
  const result = { loss: await loss.readFloats(), gradient: await gradient.readFloats() };
  for (const tensor of [loss, gradient]) tensor[Symbol.dispose]();
  return result;
}

describe('softCrossEntropy', () => {
  test.each([
    [1, 1],
    [1, 53],
    [12, 97],
    [106, 272],
    [9, 1024],
    [2, 8456], // more columns than the threads of a block take at once: vectors, elements
    [2, 1031],
  ])('agrees with float64 at [%i, %i] in f32', async (rows, columns) => {
    const logits = randomNormal(rows * columns, 1);
    const targets = randomTargets(rows, columns, 2);
    const expected = softCrossEntropyReference(logits, targets, columns, 0.12);
    const result = await run(logits, targets, columns, { inPlace: false });
    expectClose(result.loss, [expected.loss], { atol: 1e-6, rtol: 1e-6 });
    expectClose(result.gradient, expected.gradient, { atol: 1e-6 / (0.12 * rows), rtol: 2e-6 });
    expect(await run(logits, targets, columns, { inPlace: true })).toEqual(result);
  });

  test.each([
    [106, 'bf16', 'bf16'],
    [104, 'bf16', 'bf16'],
    [104, 'bf16', 'f32'],
    [104, 'f32', 'bf16'],
  ] as const)(
    'is exact arithmetic on the values of [53, %i] %s logits and %s targets, rounded once',
    async (columns, dtype, targetsDtype) => {
      const rows = 53;
      const logits = roundToBf16(randomNormal(rows * columns, 3));
      const targets = roundToBf16(randomTargets(rows, columns, 4));
      const expected = softCrossEntropyReference(logits, targets, columns, 0.12);
      const result = await run(logits, targets, columns, { dtype, targetsDtype });
      expectClose(result.loss, [expected.loss], { atol: 0, rtol: 1e-6 });
      expect(maxError(result.gradient, expected.gradient)).toBeLessThanOrEqual(
        2 * maxError(roundToBf16(expected.gradient), expected.gradient),
      );
    },
  );

  test('takes a loss without a gradient', async () => {
    const values = randomNormal(3 * 40, 7);
    const targetValues = randomTargets(3, 40, 8);
    using logits = Tensor.from(values, [3, 40], 'f32');
    using targets = Tensor.from(targetValues, [3, 40], 'f32');
    using loss = poisoned([1, 1], 'f64');
    ops.softCrossEntropy({ logits, targets, temperature: 0.12, loss });
    expect(await loss.readFloats()).toEqual((await run(values, targetValues, 40)).loss);
    expect(await logits.readFloats()).toEqual(values);
  });

  test('keeps large logits finite and passes a NaN on', async () => {
    const huge = Float32Array.from([1e4, -1e4, 0, 30]);
    const target = [0, 0, 0.5, 0.5];
    const { loss } = await run(huge, target, 4);
    expectClose(loss, [softCrossEntropyReference(huge, target, 4, 0.12).loss], { atol: 0, rtol: 1e-6 });
    const broken = await run([1, Number.NaN, 0, 0], target, 4);
    expect(broken.loss[0]).toBeNaN();
    expect(Array.from(broken.gradient).every(Number.isNaN)).toBe(true);
  });

  // 65 columns take elements, 72 vectors on CUDA.
  describe.each([65, 72])('of [97, %i]', (columns) => {
    testSameBytes(() => enqueue(randomNormal(97 * columns, 5), randomTargets(97, columns, 6), columns));
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
