import { addon } from '../../lib/native/addon.js';
import { ops } from '../../lib/tensor/ops.js';
import type { RopeKind } from '../../lib/tensor/ops_attention.js';
import {
  type AttentionProblem,
  type AttentionResult,
  attentionReference,
  capiFrequencies,
} from '../support/attention_reference.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { inReverseOrder } from '../support/outputs.js';
import { randomNormal, randomNumbers } from '../support/random.js';
import { backend, Tensor } from '../support/tensor.js';

type FloatDtype = 'f32' | 'bf16';

interface Size {
  readonly images: number;
  readonly heads: number;
  readonly d: number;
  readonly nQ: number;
  readonly nK: number;
  readonly cross?: boolean;
}

const outputs = ['out', 'lse', 'gradQ', 'gradK', 'gradV', 'gradFrequencies'] as const;

const poison = (length: number) => new Float32Array(length).fill(Number.NaN);
const roundOne = (value: number) => roundToBf16([value])[0] as number;

function problem(
  rope: RopeKind,
  { images, heads, d, nQ, nK, cross = false }: Size,
  more: Partial<AttentionProblem> & { allImages?: number; contexts?: number; dtype?: FloatDtype } = {},
): AttentionProblem {
  const { allImages = images, contexts = images, dtype = 'f32', ...rest } = more;
  const next = randomNumbers(nQ * 1000 + nK);
  const coordinates = (n: number) => Float32Array.from({ length: allImages * n * 2 }, next);
  const normal = (length: number, seed: number) => {
    const values = randomNormal(length, seed);
    return dtype === 'bf16' ? roundToBf16(values) : values;
  };
  const qCoordinates = coordinates(nQ);
  return {
    images,
    heads,
    d,
    nQ,
    nK,
    rope,
    q: normal(images * nQ * heads * d, 1),
    k: normal(contexts * nK * heads * d, 2),
    v: normal(contexts * nK * heads * d, 3),
    gradOut: normal(images * nQ * heads * d, 4),
    qCoordinates,
    kCoordinates: cross ? coordinates(nK) : qCoordinates,
    frequencies: capiFrequencies(d),
    ...rest,
  };
}

type Values = Record<(typeof outputs)[number], ArrayLike<number>>;

interface RunOptions {
  /** q, k and v are columns of one matrix, from this one on, and their gradients overwrite them. */
  readonly mergedFrom?: number;
  /** Without, the gradient of the frequencies is not asked for. */
  readonly trainFrequencies?: boolean;
}

/** Forward and backward. */
async function run(p: AttentionProblem, dtype: FloatDtype, options: RunOptions = {}): Promise<Values> {
  const owned: Tensor[] = [];
  try {
    return await runWith(p, dtype, options, (tensor) => {
      owned.push(tensor);
      return tensor;
    });
  } finally {
    for (const tensor of owned) tensor[Symbol.dispose]();
  }
}

async function runWith(
  p: AttentionProblem,
  dtype: FloatDtype,
  { mergedFrom, trainFrequencies = true }: RunOptions,
  own: (tensor: Tensor) => Tensor,
): Promise<Values> {
  const width = p.heads * p.d;
  const [rowsQ, rowsK] = [p.q.length / width, p.k.length / width];
  const from = (values: ArrayLike<number>, shape: number[], kind: FloatDtype | 'i32' = dtype) =>
    own(Tensor.from(values, shape, kind));
  const poisoned = (rows: number, cols: number, kind: FloatDtype = dtype) =>
    from(poison(rows * cols), [rows, cols], kind);

  let [q, k, v] = [from(p.q, [rowsQ, width]), from(p.k, [rowsK, width]), from(p.v, [rowsK, width])];
  let [gradQ, gradK, gradV] = [poisoned(rowsQ, width), poisoned(rowsK, width), poisoned(rowsK, width)];
  if (mergedFrom !== undefined) {
    const columns = mergedFrom + 3 * width;
    const together = new Float32Array(rowsQ * columns);
    for (let row = 0; row < rowsQ; row++) {
      [p.q, p.k, p.v].forEach((values, part) => {
        const start = row * columns + mergedFrom + part * width;
        together.set(values.subarray(row * width, (row + 1) * width), start);
      });
    }
    const qkv = from(together, [rowsQ, columns]);
    const part = (index: number) =>
      qkv.columnRange(mergedFrom + index * width, mergedFrom + (index + 1) * width);
    [q, k, v] = [part(0), part(1), part(2)];
    [gradQ, gradK, gradV] = [q, k, v];
  }
  const qCoordinates = from(p.qCoordinates, [p.qCoordinates.length / 2, 2], 'f32');
  const shared = {
    q,
    k,
    v,
    out: poisoned(rowsQ, width),
    lse: poisoned(p.images * p.heads, p.nQ, 'f32'),
    heads: p.heads,
    nQ: p.nQ,
    nK: p.nK,
    rope: p.rope,
    qCoordinates,
    kCoordinates:
      p.kCoordinates === p.qCoordinates
        ? qCoordinates
        : from(p.kCoordinates, [p.kCoordinates.length / 2, 2], 'f32'),
    frequencies: from(p.frequencies, [2, p.d], 'f32'),
    images: p.imageIndices && from(p.imageIndices, [1, p.images], 'i32'),
    contextImages: p.contextIndices && from(p.contextIndices, [1, p.images], 'i32'),
  };
  const gradFrequencies = poisoned(2, p.d, 'f32');
  ops.attentionForward(shared);
  const gradOut = from(p.gradOut, [rowsQ, width]);
  ops.attentionBackward({
    ...shared,
    gradOut,
    gradQ,
    gradK,
    gradV,
    gradFrequencies: trainFrequencies ? gradFrequencies : undefined,
  });
  return {
    out: await shared.out.readFloats(),
    lse: await shared.lse.readFloats(),
    gradQ: await gradQ.readFloats(),
    gradK: await gradK.readFloats(),
    gradV: await gradV.readFloats(),
    gradFrequencies: await gradFrequencies.readFloats(),
  };
}

function expectNoWorseThanNaive(actual: Values, exact: AttentionResult, naive: AttentionResult): void {
  for (const name of ['out', 'gradQ', 'gradK', 'gradV'] as const) {
    const allowed = 2 * maxError(naive[name], exact[name]) + 1e-5;
    expect(maxError(actual[name], exact[name])).toBeLessThanOrEqual(allowed);
  }
}

const largest = (values: ArrayLike<number>) => maxError(values, new Float64Array(values.length));

/** Against the largest entry of each output, since every entry sums terms of that size. */
function expectAgreement(actual: Values, expected: AttentionResult, tolerance: number): void {
  for (const name of outputs) {
    expectClose(actual[name], expected[name], {
      atol: tolerance * Math.max(largest(expected[name]), 1),
      rtol: tolerance,
    });
  }
}

/** Every tile shape and ragged edge of each backend; the interpreter is slow, and its tiles are of 32 rows. */
const sizes: Size[] = {
  cpu: [
    { images: 2, heads: 2, d: 16, nQ: 1, nK: 1 },
    { images: 2, heads: 3, d: 16, nQ: 53, nK: 53 },
    { images: 1, heads: 1, d: 12, nQ: 97, nK: 97 },
    { images: 2, heads: 1, d: 32, nQ: 106, nK: 106 },
    { images: 1, heads: 1, d: 64, nQ: 272, nK: 272 },
    { images: 2, heads: 2, d: 64, nQ: 8, nK: 106, cross: true },
    { images: 3, heads: 1, d: 20, nQ: 17, nK: 1, cross: true },
  ],
  cuda: [
    { images: 2, heads: 2, d: 16, nQ: 1, nK: 1 },
    { images: 2, heads: 3, d: 16, nQ: 33, nK: 33 },
    { images: 1, heads: 1, d: 12, nQ: 97, nK: 97 },
    { images: 1, heads: 1, d: 64, nQ: 8, nK: 53, cross: true },
    { images: 3, heads: 1, d: 20, nQ: 17, nK: 1, cross: true },
    { images: 1, heads: 2, d: 100, nQ: 5, nK: 5 },
    { images: 1, heads: 1, d: 132, nQ: 2, nK: 3, cross: true },
  ],
}[backend];
const kinds: RopeKind[] = ['coupled', 'axial', 'none'];
const cases = sizes.flatMap((size, i) =>
  kinds.slice(0, backend === 'cpu' || i < 2 ? 3 : 1).map((rope) => ({ ...size, rope })),
);

/** In bf16, where CUDA has tensor cores for d 32 and 64. */
const halfSizes: Size[] = [
  { images: 1, heads: 2, d: 32, nQ: 17, nK: 35, cross: true },
  { images: 2, heads: 1, d: 64, nQ: 8, nK: 53, cross: true },
  { images: 1, heads: 1, d: 64, nQ: 66, nK: 130, cross: true }, // two tiles of queries, two groups of keys
  { images: 1, heads: 2, d: 64, nQ: 33, nK: 33 },
  { images: 1, heads: 1, d: 64, nQ: 1, nK: 1 },
  { images: 1, heads: 1, d: 64, nQ: 3, nK: 590, cross: true }, // more keys than shared memory holds
  { images: 1, heads: 8, d: 32, nQ: 129, nK: 3, cross: true }, // warps take queries more than once
  { images: 1, heads: 1, d: 12, nQ: 9, nK: 9 },
];
const halfCases = halfSizes.flatMap((size, i) =>
  kinds.slice(0, i < 2 ? 3 : 1).map((rope) => ({ ...size, rope })),
);

describe('attention', () => {
  afterAll(() => addon.setThreads(2));

  test.each(cases)(
    'agrees with float64 with $rope rope, d $d, $nQ queries and $nK keys',
    async ({ rope, ...size }) => {
      const p = problem(rope, size);
      expectAgreement(await run(p, 'f32'), attentionReference(p), 5e-6);
    },
  );

  test('keeps its accuracy with frequencies of any size', async () => {
    const size = { images: 1, heads: 2, d: 16, nQ: 53, nK: 53 };
    const p = problem('coupled', size, { frequencies: randomNormal(32, 9, 30) });
    // Angles of 100 are rounded to 4e-6 in f32.
    expectAgreement(await run(p, 'f32'), attentionReference(p), 3e-5);
  });

  test.each(halfCases)(
    'is no worse than twice naive bf16 in bf16 with $rope rope, d $d, $nQ queries and $nK keys',
    async ({ rope, ...size }) => {
      const p = problem(rope, size, { dtype: 'bf16' });
      const [exact, naive] = [attentionReference(p), attentionReference(p, roundOne)];
      const fused = await run(p, 'bf16', { trainFrequencies: false });
      expectNoWorseThanNaive(fused, exact, naive);
      // Stored in f32, so only operands are rounded: on a CPU those of the backward pass.
      const lseError = maxError(fused.lse, exact.lse);
      expect(lseError).toBeLessThan(
        backend === 'cpu' ? 1e-5 : Math.max(1e-5, 2 * maxError(naive.lse, exact.lse)),
      );
      const actual = await run(p, 'bf16');
      expectNoWorseThanNaive(actual, exact, naive);
      expect(maxError(actual.gradFrequencies, exact.gradFrequencies)).toBeLessThanOrEqual(
        0.01 * Math.max(largest(exact.gradFrequencies), 1),
      );
    },
  );

  test('writes gradients over the columns of a merged q, k, v matrix', async () => {
    const n = backend === 'cpu' ? 53 : 33;
    const p = problem('coupled', { images: 2, heads: 2, d: 32, nQ: n, nK: n });
    expectAgreement(await run(p, 'f32', { mergedFrom: 0 }), attentionReference(p), 5e-6);
  });

  test.each([17, 130])('does so in bf16, with or without 16-byte alignment, at %i tokens', async (n) => {
    const p = problem(
      'coupled',
      { images: 1, heads: n < 100 ? 2 : 1, d: 32, nQ: n, nK: n },
      { dtype: 'bf16' },
    );
    const [exact, naive] = [attentionReference(p), attentionReference(p, roundOne)];
    const apart = await run(p, 'bf16', { trainFrequencies: false });
    const merged = await run(p, 'bf16', { trainFrequencies: false, mergedFrom: 0 });
    for (const name of ['out', 'lse', 'gradQ', 'gradK', 'gradV'] as const) {
      expect(Array.from(merged[name])).toEqual(Array.from(apart[name]));
    }
    if (n > 100) return;
    expectNoWorseThanNaive(await run(p, 'bf16', { mergedFrom: 1 }), exact, naive);
  });

  test.each(['f32', 'bf16'] as const)(
    'takes subsets of images and contexts, and clears the gradients of unused contexts, in %s',
    async (dtype) => {
      const p = problem(
        'coupled',
        { images: 3, heads: 2, d: 32, nQ: 8, nK: 26, cross: true },
        { allImages: 6, contexts: 5, imageIndices: [1, 3, 5], contextIndices: [4, 0, 2], dtype },
      );
      for (const trainFrequencies of [true, false]) {
        const actual = await run(p, dtype, { trainFrequencies });
        const exact = attentionReference(p);
        if (dtype === 'bf16') expectNoWorseThanNaive(actual, exact, attentionReference(p, roundOne));
        else if (trainFrequencies) expectAgreement(actual, exact, 5e-6);
        for (const values of [actual.gradK, actual.gradV]) {
          const rowsOf = (context: number) =>
            Array.from(values).slice(context * 26 * 64, (context + 1) * 26 * 64);
          expect(new Set([...rowsOf(1), ...rowsOf(3)])).toEqual(new Set([0]));
          expect(largest(rowsOf(2))).toBeGreaterThan(0);
        }
      }
    },
  );

  test.each(['f32', 'bf16'] as const)(
    'gives NaN for an image whose index is out of range, and only for it, in %s',
    async (dtype) => {
      const size = { images: 2, heads: 1, d: 32, nQ: 5, nK: 5 };
      const p = problem('coupled', size, { imageIndices: [0, 7], dtype });
      const half = 5 * 32;
      for (const trainFrequencies of [true, false]) {
        const actual = await run(p, dtype, { trainFrequencies });
        for (const name of ['out', 'gradQ'] as const) {
          const values = Array.from(actual[name]);
          expect(values.slice(0, half).every(Number.isFinite)).toBe(true);
          expect(values.slice(half).every(Number.isNaN)).toBe(true);
        }
        expect(Array.from(actual.lse).slice(5).every(Number.isNaN)).toBe(true);
        for (const name of ['gradK', 'gradV'] as const) {
          const values = Array.from(actual[name]);
          expect(values.slice(0, half).every(Number.isFinite)).toBe(true);
          expect(largest(values.slice(half))).toBe(0);
        }
      }
    },
  );

  test.each(['f32', 'bf16'] as const)('lets NaN through to the rows that it reaches in %s', async (dtype) => {
    const p = problem('coupled', { images: 2, heads: 1, d: 32, nQ: 9, nK: 9 }, { dtype });
    p.k[3] = Number.NaN;
    const { out, lse } = await run(p, dtype);
    const half = 9 * 32;
    expect(Array.from(out).slice(0, half).every(Number.isNaN)).toBe(true);
    expect(Array.from(out).slice(half).every(Number.isFinite)).toBe(true);
    expect(Array.from(lse).slice(0, 9).every(Number.isNaN)).toBe(true);
  });

  test.each(['f32', 'bf16'] as const)(
    'lets NaN in a position or a frequency through in %s',
    async (dtype) => {
      const size = { images: 2, heads: 1, d: 32, nQ: 9, nK: 9 };
      const half = 9 * 32;
      const position = problem('coupled', size, { dtype });
      position.qCoordinates[0] = Number.NaN;
      const { out } = await run(position, dtype);
      expect(Array.from(out).slice(0, 32).every(Number.isNaN)).toBe(true);
      expect(Array.from(out).slice(half).every(Number.isFinite)).toBe(true);
      const frequency = problem('coupled', size, { dtype });
      frequency.frequencies[0] = Number.NaN;
      expect(Array.from((await run(frequency, dtype)).out).every(Number.isNaN)).toBe(true);
    },
  );

  test('survives scores of hundreds', async () => {
    const p = problem('none', { images: 1, heads: 1, d: 16, nQ: 9, nK: 17, cross: true });
    for (let i = 0; i < p.q.length; i++) p.q[i] = p.q[i]! * 100;
    const exact = attentionReference(p);
    const actual = await run(p, 'f32');
    expectClose(actual.out, exact.out, { atol: 1e-4, rtol: 1e-4 });
    expectClose(actual.gradV, exact.gradV, { atol: 1e-4, rtol: 1e-4 });
  });

  async function expectSameBytes(
    dtype: FloatDtype,
    size: Size,
    ways: readonly ((body: () => Promise<Values>) => Promise<Values>)[],
  ): Promise<void> {
    const p = problem('coupled', size, { dtype });
    let first: Values | undefined;
    for (const way of ways) {
      const values = await way(() => run(p, dtype));
      first ??= values;
      for (const name of outputs) expect(Array.from(values[name])).toEqual(Array.from(first[name]));
    }
  }

  if (backend === 'cpu') {
    test.each(['f32', 'bf16'] as const)(
      'gives the same bytes with 1, 2 and 3 threads in %s',
      async (dtype) => {
        const threads = [1, 2, 3].map((count) => (body: () => Promise<Values>) => {
          addon.setThreads(count);
          return body();
        });
        await expectSameBytes(dtype, { images: 3, heads: 2, d: 32, nQ: 26, nK: 26 }, threads);
        await expectSameBytes(dtype, { images: 1, heads: 1, d: 16, nQ: 400, nK: 30, cross: true }, threads);
      },
    );
  } else {
    test.each(['f32', 'bf16'] as const)(
      'gives the same bytes with blocks and threads in reverse order in %s',
      async (dtype) => {
        const size = { images: 1, heads: 1, d: 32, nQ: 34, nK: 130, cross: true };
        await expectSameBytes(dtype, size, [(body) => body(), inReverseOrder]);
      },
    );
  }

  test('refuses wrong shapes, dtypes and rope kinds, each by its code', () => {
    using x = Tensor.zeros([10, 32], 'f32');
    using half = Tensor.zeros([10, 32], 'bf16');
    using odd = Tensor.zeros([9, 32], 'f32');
    using long = Tensor.zeros([10, 2 * 260], 'f32');
    using coordinates = Tensor.zeros([10, 2], 'f32');
    using frequencies = Tensor.zeros([2, 16], 'f32');
    using wrong = Tensor.zeros([2, 8], 'f32');
    const good = {
      q: x,
      k: x,
      v: x,
      out: x,
      heads: 2,
      nQ: 5,
      nK: 5,
      rope: 'coupled' as RopeKind,
      qCoordinates: coordinates,
      kCoordinates: coordinates,
      frequencies,
    };
    const code = (changes: object) => {
      try {
        ops.attentionForward({ ...good, ...changes });
        return 'none';
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    expect(code({})).toBe('none');
    expect(code({ k: odd, v: odd })).toBe('ERR_CAPI_SHAPE_MISMATCH');
    expect(code({ heads: 3 })).toBe('ERR_CAPI_SHAPE_MISMATCH');
    expect(code({ frequencies: wrong })).toBe('ERR_CAPI_SHAPE_MISMATCH');
    expect(code({ nQ: 4 })).toBe('ERR_CAPI_SHAPE_MISMATCH');
    expect(code({ k: half })).toBe('ERR_CAPI_DTYPE_MISMATCH');
    expect(code({ frequencies: undefined })).toBe('ERR_CAPI_INVALID_ARGUMENT');
    expect(code({ nQ: 0 })).toBe('ERR_CAPI_INVALID_ARGUMENT');
    if (backend === 'cuda')
      expect(code({ q: long, k: long, v: long, out: long })).toBe('ERR_CAPI_SHAPE_MISMATCH');
    expect(code({ rope: 'diagonal' })).toBe('ERR_CAPI_INVALID_ARGUMENT');
    expect(() => ops.attentionForward({ ...good, out: odd })).toThrow(
      '[attention_forward] Expected out of shape [10, 32] but received [9, 32]',
    );
  });
});
