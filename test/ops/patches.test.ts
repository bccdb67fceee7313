import { ops } from '../../lib/tensor/ops.js';
import { type MakeTensor, testSameBytesAsCpu } from '../support/backends.js';
import { expectClose, roundToBf16 } from '../support/close.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import {
  type CoordinatesCase,
  coordinatesReference,
  eachToken,
  type TokensCase,
} from '../support/patches_reference.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

describe('gatherRows', () => {
  test.each(['f32', 'bf16', 'f64', 'i32', 'u8'] as const)('takes the named rows of %s', async (dtype) => {
    using x = Tensor.from(
      Array.from({ length: 5 * 3 }, (_, i) => i),
      [5, 3],
      dtype,
    );
    using indices = Tensor.from([4, 0, 0, 2], [1, 4], 'i32');
    using y = poisoned([4, 3], dtype);
    ops.gatherRows({ x, indices, y });
    expect(Array.from(await y.readFloats())).toEqual([12, 13, 14, 0, 1, 2, 0, 1, 2, 6, 7, 8]);
  });

  test('reads and writes strided rows', async () => {
    using x = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3], 'f32');
    using y = Tensor.zeros([2, 3], 'f32');
    using indices = Tensor.from([1, 0], [1, 2], 'i32');
    ops.gatherRows({ x: x.columnRange(1, 3), indices, y: y.columnRange(0, 2) });
    expect(Array.from(await y.readFloats())).toEqual([5, 6, 0, 2, 3, 0]);
  });

  // Rows of 16 elements at offsets of 1, 2, 4, …: every width of access that a row's bytes allow.
  test.each(['f32', 'bf16', 'f64', 'i32', 'u8'] as const)(
    'copies rows of %s at any alignment',
    async (dtype) => {
      const cols = 48;
      const values = Array.from({ length: 5 * cols }, (_, i) => i % 251);
      using x = Tensor.from(values, [5, cols], dtype);
      using indices = Tensor.from([3, 1, 4], [1, 3], 'i32');
      for (const offset of [0, 1, 2, 4, 8, 16]) {
        using y = Tensor.zeros([3, cols], dtype);
        const end = offset + 16;
        ops.gatherRows({ x: x.columnRange(offset, end), indices, y: y.columnRange(offset, end) });
        const expected = [3, 1, 4].flatMap((row) =>
          values.slice(row * cols, (row + 1) * cols).map((value, i) => (i >= offset && i < end ? value : 0)),
        );
        expect(Array.from(await y.readFloats())).toEqual(expected);
      }
    },
  );

  test.each([
    ['f64', Number.NaN],
    ['f32', Number.NaN],
    ['i32', 0],
    ['u8', 0],
  ] as const)('fills a row of %s with %f for an index outside', async (dtype, missing) => {
    using x = Tensor.from(new Array(32).fill(1), [2, 16], dtype);
    using indices = Tensor.from([2, -1, 1], [1, 3], 'i32');
    using y = poisoned([3, 16], dtype);
    ops.gatherRows({ x, indices, y });
    const expected = [...new Array(32).fill(missing), ...new Array(16).fill(1)];
    expect(Array.from(await y.readFloats())).toEqual(expected);
  });

  test('makes a row of NaN for an index outside', async () => {
    using x = Tensor.from([1, 2], [2, 1], 'bf16');
    using indices = Tensor.from([2, -1, 1], [1, 3], 'i32');
    using y = Tensor.zeros([3, 1], 'bf16');
    ops.gatherRows({ x, indices, y });
    expect(Array.from(await y.readFloats())).toEqual([Number.NaN, Number.NaN, 2]);
  });

  test('refuses an output of another dtype', () => {
    using x = Tensor.zeros([2, 2], 'f32');
    using y = Tensor.zeros([1, 2], 'bf16');
    using indices = Tensor.zeros([1, 1], 'i32');
    expect(() => ops.gatherRows({ x, indices, y })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }),
    );
  });
});

describe('coordinates', () => {
  const cases: Record<string, CoordinatesCase> = {
    'every patch of a square grid': { images: 2, grid: [4, 4], registers: 8, edge: true, scale: true },
    'visible patches, scaled registers': {
      images: 2,
      grid: [3, 5],
      registers: 4,
      edge: true,
      scale: true,
      indices: [6, 7, 12, 16, 21, 29],
    },
    'unscaled registers': {
      images: 1,
      grid: [4, 4],
      registers: 16,
      edge: true,
      scale: false,
      indices: [5, 6],
    },
    'registers at zero, scaled': {
      images: 1,
      grid: [4, 4],
      registers: 3,
      edge: false,
      scale: true,
      indices: [10, 15],
    },
    'one row of patches': { images: 1, grid: [1, 6], registers: 4, edge: true, scale: true },
    'no registers': { images: 2, grid: [2, 2], registers: 0, edge: true, scale: true, indices: [1, 3, 6, 7] },
  };

  test.each(Object.entries(cases))('agrees with the method: %s', async (_, of) => {
    const expected = coordinatesReference(of);
    using out = poisoned([expected.length / 2, 2], 'f32');
    using indices = of.indices && Tensor.from(of.indices, [1, of.indices.length], 'i32');
    ops.coordinates({
      out,
      indices,
      gridRows: of.grid[0],
      gridCols: of.grid[1],
      registers: of.registers,
      registerKind: of.edge ? 'edge' : 'zeros',
      scaleToVisible: of.scale,
    });
    expectClose(await out.readFloats(), expected, { atol: 1.2e-7, rtol: 0 });
  });

  testSameBytesAsCpu('patches of every image', (make) => {
    const indices = make([6, 7, 14, 16, 21, 29, 30, 31, 44], [1, 9], 'i32');
    return [9, 9 + 3 * 40].map((rows) => {
      const out = make(new Float32Array(2 * rows), [rows, 2], 'f32');
      const registers = (rows - 9) / 3;
      const grid = { gridRows: 3, gridCols: 5, registers, registerKind: 'zeros' } as const;
      ops.coordinates({ out, indices, ...grid, scaleToVisible: false });
      return out;
    });
  });

  test('scales registers to the box of more patches than a warp has lanes', async () => {
    const of = { images: 5, grid: [9, 11], registers: 44, edge: true, scale: true } as const;
    const indices = Array.from({ length: 5 * 70 }, (_, i) => Math.floor(i / 70) * 99 + 11 + (i % 70));
    const expected = coordinatesReference({ ...of, indices });
    using out = poisoned([expected.length / 2, 2], 'f32');
    using chosen = Tensor.from(indices, [1, indices.length], 'i32');
    ops.coordinates({ out, indices: chosen, gridRows: 9, gridCols: 11, registers: 44, registerKind: 'edge' });
    expectClose(await out.readFloats(), expected, { atol: 2.4e-7, rtol: 0 });
  });

  test('refuses edge registers that do not divide by 4, and an output that fits no batch', () => {
    using out = Tensor.zeros([21, 2], 'f32');
    const run = (registers: number) =>
      ops.coordinates({ out, gridRows: 4, gridCols: 4, registers, registerKind: 'edge' });
    expect(() => run(5)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }));
    expect(() => run(4)).toThrow(expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }));
  });
});

describe('tokens', () => {
  const layouts: TokensCase[] = [
    { batch: 3, nRegisters: 4, nVisible: 5, nMasked: 0 },
    { batch: 2, nRegisters: 0, nVisible: 0, nMasked: 3 },
    { batch: 2, nRegisters: 1, nVisible: 3, nMasked: 2 },
  ];
  const positions = 11;

  /** Random inputs of one layout; visible and masked number patches of a flattened batch. */
  function inputs(layout: TokensCase, dim: number) {
    const { batch, nRegisters, nVisible, nMasked } = layout;
    const indices = (count: number, seed: number) =>
      Array.from(
        { length: batch * count },
        (_, i) => Math.floor(i / count) * positions + ((i * 7 + seed) % positions),
      );
    return {
      registers: randomNormal(nRegisters * dim, 1),
      patches: randomNormal(batch * nVisible * dim, 2),
      maskToken: randomNormal(dim, 3),
      positions: randomNormal(positions * dim, 4),
      visible: indices(nVisible, 1),
      masked: indices(nMasked, 5),
    };
  }

  const matrix = (values: ArrayLike<number>, cols: number, dtype: 'f32' | 'bf16' | 'i32' = 'f32') =>
    values.length > 0 ? Tensor.from(values, [values.length / cols, cols], dtype) : undefined;

  test.each(
    layouts.flatMap((layout) => [
      { ...layout, dim: 53 },
      { ...layout, dim: 136 },
    ]),
  )('puts every token in its place: %j', async ({ dim, ...layout }) => {
    const from = inputs(layout, dim);
    const rows = layout.batch * (layout.nRegisters + layout.nVisible + layout.nMasked);
    const expected = new Float64Array(rows * dim);
    eachToken(layout, (row, kind, number) => {
      for (let i = 0; i < dim; i++) {
        const position = (index: number) => from.positions[(index % positions) * dim + i]!;
        expected[row * dim + i] =
          kind === 'register'
            ? from.registers[number * dim + i]!
            : kind === 'patch'
              ? from.patches[number * dim + i]! + position(from.visible[number]!)
              : from.maskToken[i]! + position(from.masked[number]!);
      }
    });
    using tokens = poisoned([rows, dim], 'f32');
    ops.tokensForward({
      tokens,
      registers: matrix(from.registers, dim),
      patches: matrix(from.patches, dim),
      maskToken: matrix(from.maskToken, dim),
      positions: matrix(from.positions, dim),
      visible: matrix(from.visible, from.visible.length || 1, 'i32'),
      masked: matrix(from.masked, from.masked.length || 1, 'i32'),
      ...layout,
    });
    expectClose(await tokens.readFloats(), expected, { atol: 1e-6, rtol: 1e-6 });
  });

  test.each(
    layouts.flatMap((layout) => [
      { ...layout, dim: 97 },
      { ...layout, dim: 640 },
    ]),
  )('sums every gradient: %j', async ({ dim, ...layout }) => {
    const from = inputs(layout, dim);
    const { batch, nRegisters, nVisible, nMasked } = layout;
    const rows = batch * (nRegisters + nVisible + nMasked);
    const grad = randomNormal(rows * dim, 9);
    const exact = {
      registers: new Float64Array(nRegisters * dim),
      patches: new Float64Array(batch * nVisible * dim),
      maskToken: new Float64Array(dim),
      positions: new Float64Array(positions * dim),
    };
    const add = (to: Float64Array, row: number, i: number, value: number) => {
      to[row * dim + i] = to[row * dim + i]! + value;
    };
    eachToken(layout, (row, kind, number) => {
      for (let i = 0; i < dim; i++) {
        const value = grad[row * dim + i]!;
        if (kind === 'register') add(exact.registers, number, i, value);
        if (kind === 'patch') add(exact.patches, number, i, value);
        if (kind === 'mask') add(exact.maskToken, 0, i, value);
        const index = kind === 'patch' ? from.visible[number]! : from.masked[number]!;
        if (kind !== 'register') add(exact.positions, index % positions, i, value);
      }
    });
    const out = (length: number) => (length > 0 ? poisoned([length / dim, dim], 'f32') : undefined);
    const gradRegisters = out(exact.registers.length);
    const gradPatches = out(exact.patches.length);
    using gradMaskToken = poisoned([1, dim], 'f32');
    using gradPositions = poisoned([positions, dim], 'f32');
    using gradTokens = Tensor.from(grad, [rows, dim], 'f32');
    ops.tokensBackward({
      gradTokens,
      gradRegisters,
      gradPatches,
      gradMaskToken,
      gradPositions,
      visible: matrix(from.visible, from.visible.length || 1, 'i32'),
      masked: matrix(from.masked, from.masked.length || 1, 'i32'),
      ...layout,
    });
    const close = { atol: 2e-6, rtol: 1e-6 };
    expectClose(await gradMaskToken.readFloats(), exact.maskToken, close);
    expectClose(await gradPositions.readFloats(), exact.positions, close);
    if (gradRegisters) expectClose(await gradRegisters.readFloats(), exact.registers, close);
    if (gradPatches) expectClose(await gradPatches.readFloats(), exact.patches, close);
  });

  test('adds f32 positions to bf16 patches with one rounding', async () => {
    const [batch, nVisible, dim] = [2, 11, 40];
    const patches = roundToBf16(randomNormal(batch * nVisible * dim, 1));
    const learned = randomNormal(nVisible * dim, 2);
    using tokens = poisoned([batch * nVisible, dim], 'bf16');
    ops.tokensForward({
      tokens,
      patches: matrix(patches, dim, 'bf16'),
      positions: matrix(learned, dim),
      batch,
      nRegisters: 0,
      nVisible,
      nMasked: 0,
    });
    const sums = patches.map((value, i) => value + learned[i % learned.length]!);
    expect(await tokens.readFloats()).toEqual(roundToBf16(sums));
  });

  /** Sums over more than one chunk of rows and one round of the search for a position, with indices from outside. */
  function gradients(make: MakeTensor, dtype: 'f32' | 'bf16', dim: number): Tensor[] {
    const [batch, nRegisters, nVisible, nMasked, positions] = [70, 3, 7, 2, 11];
    const rows = batch * (nRegisters + nVisible + nMasked);
    const indices = (each: number, seed: number) =>
      make(
        Array.from({ length: batch * each }, (_, i) => ((i * 37 + seed) % 40) - 9),
        [1, batch * each],
        'i32',
      );
    const empty = (rowCount: number, type: 'f32' | 'bf16' = 'f32') =>
      make(new Float32Array(rowCount * dim).fill(Number.NaN), [rowCount, dim], type);
    const outputs = {
      gradRegisters: empty(nRegisters),
      gradPatches: empty(batch * nVisible, dtype),
      gradMaskToken: empty(1),
      gradPositions: empty(positions),
    };
    ops.tokensBackward({
      gradTokens: make(randomNormal(rows * dim, 8), [rows, dim], dtype),
      ...outputs,
      visible: indices(nVisible, 1),
      masked: indices(nMasked, 5),
      ...{ batch, nRegisters, nVisible, nMasked },
    });
    return Object.values(outputs);
  }

  testSameBytes(() => gradients(Tensor.from, 'bf16', 40));

  testSameBytesAsCpu('gradients', (make) => [
    ...gradients(make, 'f32', 5),
    ...gradients(make, 'f32', 520),
    ...gradients(make, 'bf16', 16),
  ]);

  testSameBytesAsCpu('tokens of every dtype', (make) => {
    const [batch, nRegisters, nVisible, nMasked] = [3, 2, 6, 1];
    const rows = batch * (nRegisters + nVisible + nMasked);
    const dtypes = [
      ['f32', 'f32'],
      ['bf16', 'f32'],
      ['bf16', 'bf16'],
    ] as const;
    return dtypes.flatMap(([dtype, parameters]) =>
      [13, 24].map((dim) => {
        const random = (count: number, seed: number, type: 'f32' | 'bf16') =>
          make(randomNormal(count * dim, seed), [count, dim], type);
        const tokens = random(rows, 9, dtype);
        ops.tokensForward({
          tokens,
          registers: random(nRegisters, 1, parameters),
          patches: random(batch * nVisible, 2, dtype),
          maskToken: random(1, 3, parameters),
          positions: random(nVisible, 4, parameters),
          masked: make([-1, 7, 2], [1, 3], 'i32'),
          ...{ batch, nRegisters, nVisible, nMasked },
        });
        return tokens;
      }),
    );
  });

  test('refuses a layout that does not fill the tokens', () => {
    using tokens = Tensor.zeros([10, 4], 'f32');
    using registers = Tensor.zeros([2, 4], 'f32');
    const layout = { batch: 2, nRegisters: 2, nVisible: 0, nMasked: 0 };
    expect(() => ops.tokensForward({ tokens, registers, ...layout })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
  });
});
