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

/** Forward and backward; with `merged`, q, k and v are columns of one matrix and the gradients overwrite them. */
async function run(p: AttentionProblem, dtype: FloatDtype, merged = false): Promise<Values> {
  const owned: Tensor[] = [];
  try {
    return await runWith(p, dtype, merged, (tensor) => {
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
  merged: boolean,
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
  if (merged) {
    const together = new Float32Array(rowsQ * width * 3);
    for (let row = 0; row < rowsQ; row++) {
      [p.q, p.k, p.v].forEach((values, part) => {
        together.set(values.subarray(row * width, (row + 1) * width), (row * 3 + part) * width);
      });
    }
    const qkv = from(together, [rowsQ, 3 * width]);
    [q, k, v] = [0, 1, 2].map((part) => qkv.columnRange(part * width, (part + 1) * width)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
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
  ops.attentionBackward({ ...shared, gradOut, gradQ, gradK, gradV, gradFrequencies });
  return {
    out: await shared.out.readFloats(),
    lse: await shared.lse.readFloats(),
    gradQ: await gradQ.readFloats(),
    gradK: await gradK.readFloats(),
    gradV: await gradV.readFloats(),
    gradFrequencies: await gradFrequencies.readFloats(),
  };
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
const cases = kinds.flatMap((rope) => sizes.map((size) => ({ ...size, rope })));

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

  test.each(kinds)('is no worse than twice naive bf16 in bf16 with %s rope', async (rope) => {
    const size = { images: 1, heads: 2, d: 32, nQ: 53, nK: 97, cross: true };
    const p = problem(rope, size, { dtype: 'bf16' });
    const exact = attentionReference(p);
    const naive = attentionReference(p, roundOne);
    const actual = await run(p, 'bf16');
    for (const name of ['out', 'gradQ', 'gradK', 'gradV'] as const) {
      expect(maxError(actual[name], exact[name])).toBeLessThanOrEqual(2 * maxError(naive[name], exact[name]));
    }
    // Stored in f32, so only the operands of the backward pass are rounded.
    expect(maxError(actual.lse, exact.lse)).toBeLessThan(1e-5);
    expect(maxError(actual.gradFrequencies, exact.gradFrequencies)).toBeLessThanOrEqual(
      0.01 * largest(exact.gradFrequencies),
    );
  });

  test('writes gradients over the columns of a merged q, k, v matrix', async () => {
    const p = problem('coupled', { images: 2, heads: 2, d: 32, nQ: 53, nK: 53 });
    expectAgreement(await run(p, 'f32', true), attentionReference(p), 5e-6);
  });

  test('takes subsets of images and contexts, and clears the gradients of unused contexts', async () => {
    const p = problem(
      'coupled',
      { images: 3, heads: 2, d: 16, nQ: 8, nK: 26, cross: true },
      { allImages: 6, contexts: 5, imageIndices: [1, 3, 5], contextIndices: [4, 0, 2] },
    );
    const actual = await run(p, 'f32');
    expectAgreement(actual, attentionReference(p), 5e-6);
    const rowOf = (context: number) =>
      Array.from(actual.gradK).slice(context * 26 * 32, (context + 1) * 26 * 32);
    expect(new Set([...rowOf(1), ...rowOf(3)])).toEqual(new Set([0]));
    expect(largest(rowOf(2))).toBeGreaterThan(0);
  });

  test('gives NaN for an image whose index is out of range, and only for it', async () => {
    const size = { images: 2, heads: 1, d: 16, nQ: 5, nK: 5 };
    const { out, gradQ } = await run(problem('coupled', size, { imageIndices: [0, 7] }), 'f32');
    const half = 5 * 16;
    for (const values of [out, gradQ].map((output) => Array.from(output))) {
      expect(values.slice(0, half).every(Number.isFinite)).toBe(true);
      expect(values.slice(half).every(Number.isNaN)).toBe(true);
    }
  });

  test('lets NaN through to the rows that it reaches', async () => {
    const p = problem('coupled', { images: 2, heads: 1, d: 16, nQ: 9, nK: 9 });
    p.k[3] = Number.NaN;
    const { out, lse } = await run(p, 'f32');
    const half = 9 * 16;
    expect(Array.from(out).slice(0, half).every(Number.isNaN)).toBe(true);
    expect(Array.from(out).slice(half).every(Number.isFinite)).toBe(true);
    expect(Array.from(lse).slice(0, 9).every(Number.isNaN)).toBe(true);
  });

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
        const size = { images: 2, heads: 2, d: 16, nQ: 35, nK: 66, cross: true };
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
