/** Storages, matrices and their owners: coded errors, never a crash, whatever a caller does. */
import { addon, type Matrix } from '../../lib/native/addon.js';
import { Arena } from '../../lib/tensor/arena.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';

const coded = (code: string, message = /Expected/) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

/** The error that a call throws, for matching by code. */
function errorOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

const asTensor = (value: unknown) => value as Tensor;

describe('storage', () => {
  test.each([2 ** 47, 2 ** 50, Number.MAX_SAFE_INTEGER])(
    'of %d bytes is refused, and nothing is held',
    (bytes) => {
      const before = addon.stats();
      expect(errorOf(() => new addon.Storage(bytes))).toEqual(
        coded('ERR_CAPI_OUT_OF_MEMORY', new RegExp(`Expected ${bytes} bytes`)),
      );
      expect(addon.stats()).toEqual(before);
    },
  );

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, '8', undefined, null, {}])(
    'of %p bytes is an invalid argument',
    (bytes) => {
      expect(errorOf(() => new addon.Storage(bytes as number))).toEqual(coded('ERR_CAPI_INVALID_ARGUMENT'));
    },
  );

  test('may be empty', async () => {
    const storage = new addon.Storage(0);
    expect((await storage.matrix(0, 'f32', 0, 4, 4).read()).byteLength).toBe(0);
    storage.dispose();
  });

  test('may be disposed of twice, and is gone from the count at once', () => {
    const before = addon.stats().liveBytes;
    const storage = new addon.Storage(10_000);
    expect(addon.stats().liveBytes).toBe(before + 12_288);
    storage.dispose();
    storage.dispose();
    expect(addon.stats().liveBytes).toBe(before);
  });

  test('gives no matrix after dispose', () => {
    const storage = new addon.Storage(64);
    storage.dispose();
    expect(errorOf(() => storage.matrix(0, 'f32', 1, 1, 1))).toEqual(coded('ERR_CAPI_DISPOSED'));
  });

  test.each([
    ['one row too many', [0, 'f32', 5, 4, 4]],
    ['a column too many', [0, 'f32', 1, 17, 17]],
    ['behind the end', [64, 'f32', 1, 1, 1]],
    ['a stride that leads out', [0, 'f32', 2, 4, 13]],
    ['a stride below the columns', [0, 'f32', 2, 4, 3]],
    ['an offset within an element', [2, 'f32', 1, 1, 1]],
    ['rows beyond any memory', [0, 'f32', 2 ** 52, 1, 1]],
    ['a product that overflows 64 bits', [0, 'f32', 2 ** 39, 1, 2 ** 39]],
  ] as const)('refuses a matrix outside it: %s', (_what, [offset, dtype, rows, cols, stride]) => {
    const storage = new addon.Storage(64);
    const make = () => storage.matrix(offset, dtype, rows, cols, stride);
    expect(errorOf(make)).toEqual(coded('ERR_CAPI_SHAPE_MISMATCH', /inside 64 bytes/));
    storage.dispose();
  });

  test.each([
    [[-4, 'f32', 1, 1, 1]],
    [[0, 'f16', 1, 1, 1]],
    [[0, 7, 1, 1, 1]],
    [[0, 'f32', 1.5, 1, 1]],
    [[0, 'f32', 1, Number.NaN, 1]],
    [[]],
  ])('refuses nonsense: %p', (args) => {
    const storage = new addon.Storage(64);
    const make = () => (storage.matrix as (...args: unknown[]) => Matrix)(...args);
    expect(errorOf(make)).toEqual(coded('ERR_CAPI_INVALID_ARGUMENT'));
    storage.dispose();
  });
});

describe('a matrix', () => {
  test('cannot be read, written or given to an op after dispose', () => {
    const storage = new addon.Storage(64);
    const matrix = storage.matrix(0, 'f32', 4, 4, 4);
    storage.dispose();
    expect(errorOf(() => matrix.read())).toEqual(coded('ERR_CAPI_DISPOSED'));
    expect(errorOf(() => matrix.write(new Float32Array(16)))).toEqual(coded('ERR_CAPI_DISPOSED'));
    expect(errorOf(() => ops.zero({ x: asTensor({ handle: matrix }) }))).toEqual(
      coded('ERR_CAPI_DISPOSED', /^\[zero\] .* x /),
    );
  });

  test('made without a storage is refused', () => {
    const storage = new addon.Storage(64);
    const Bare = storage.matrix(0, 'f32', 4, 4, 4).constructor as new () => Matrix;
    expect(errorOf(() => new Bare().read())).toEqual(coded('ERR_CAPI_DISPOSED'));
    storage.dispose();
  });

  test('takes exactly its bytes', () => {
    using tensor = Tensor.zeros([2, 3], 'f32');
    for (const length of [0, 5, 7]) {
      expect(errorOf(() => tensor.handle.write(new Float32Array(length)))).toEqual(
        coded('ERR_CAPI_SHAPE_MISMATCH'),
      );
    }
    const write = tensor.handle.write.bind(tensor.handle) as (data: unknown) => void;
    for (const data of [undefined, 'text', [1, 2, 3, 4, 5, 6], new ArrayBuffer(24)]) {
      expect(errorOf(() => write(data))).toEqual(coded('ERR_CAPI_INVALID_ARGUMENT'));
    }
  });

  test('has methods that other objects cannot borrow', () => {
    using tensor = Tensor.zeros([2, 3], 'f32');
    const storage = new addon.Storage(64);
    expect(() => tensor.handle.read.call(storage as unknown as Matrix)).toThrow();
    expect(() => storage.dispose.call(tensor.handle as unknown as typeof storage)).toThrow();
    expect(() => tensor.handle.read.call({} as Matrix)).toThrow();
    storage.dispose();
  });
});

describe('an op', () => {
  test.each([undefined, null, 7, 'x', Symbol('x'), {}, [], { handle: {} }, { handle: 7 }, { handle: null }])(
    'refuses %p for a tensor',
    (x) => {
      expect(errorOf(() => ops.zero({ x: asTensor(x) }))).toEqual(
        coded('ERR_CAPI_INVALID_ARGUMENT', /^\[zero\]/),
      );
    },
  );

  test('refuses a storage in place of its matrix', () => {
    const storage = new addon.Storage(64);
    expect(errorOf(() => ops.zero({ x: asTensor({ handle: storage }) }))).toEqual(
      coded('ERR_CAPI_INVALID_ARGUMENT'),
    );
    storage.dispose();
  });

  test.each([undefined, null, 7, 'x'])('refuses %p for its options', (options) => {
    expect(errorOf(() => ops.zero(options as never))).toEqual(coded('ERR_CAPI_INVALID_ARGUMENT'));
  });

  test('hands on what a getter throws', () => {
    const failing = {
      get handle(): never {
        throw new RangeError('mine');
      },
    };
    expect(() => ops.zero({ x: asTensor(failing) })).toThrow(new RangeError('mine'));
  });

  test('says which shape and dtype it expected', () => {
    using a = Tensor.zeros([2, 3], 'f32');
    using b = Tensor.zeros([2, 4], 'f32');
    using c = Tensor.zeros([2, 3], 'u8');
    expect(errorOf(() => ops.copy({ x: a, y: b }))).toEqual(
      coded('ERR_CAPI_SHAPE_MISMATCH', /\[2, 3\].*\[2, 4\]/),
    );
    expect(errorOf(() => ops.copy({ x: a, y: c }))).toEqual(coded('ERR_CAPI_DTYPE_MISMATCH', /f32/));
  });
});

describe('empty tensors', () => {
  test('without columns are refused by ops that divide by them', () => {
    using x = Tensor.zeros([4, 0], 'f32');
    const mismatch = coded('ERR_CAPI_SHAPE_MISMATCH', /at least one column/);
    expect(errorOf(() => ops.residualForward({ x, branch: x, y: x, rows: 2 }))).toEqual(mismatch);
    expect(errorOf(() => ops.l2NormalizeForward({ x, y: x, eps: 1e-7 }))).toEqual(mismatch);
    const counts = { batch: 2, nRegisters: 0, nVisible: 2, nMasked: 0 };
    expect(errorOf(() => ops.tokensForward({ tokens: x, patches: x, ...counts }))).toEqual(mismatch);
  });

  test('of positions or samples are refused', () => {
    using tokens = Tensor.zeros([2, 4], 'f32');
    using positions = Tensor.zeros([0, 4], 'f32');
    using visible = Tensor.zeros([1, 2], 'i32');
    const counts = { batch: 2, nRegisters: 0, nVisible: 1, nMasked: 0 };
    expect(
      errorOf(() => ops.tokensForward({ tokens, patches: tokens, positions, visible, ...counts })),
    ).toEqual(coded('ERR_CAPI_SHAPE_MISMATCH', /positions/));
    using samples = Tensor.zeros([0, 2], 'i32');
    using none = Tensor.zeros([1, 0], 'i32');
    const grid = { kind: 'uniform', gridRows: 2, gridCols: 2, nMasked: 2, seed: 0 } as const;
    expect(errorOf(() => ops.generateMasks({ ...grid, samples, visible: none, predict: none }))).toEqual(
      coded('ERR_CAPI_SHAPE_MISMATCH', /patches in a batch/),
    );
  });

  test('counts whose product overflows are refused', () => {
    using tokens = Tensor.zeros([0, 4], 'f32');
    using token = Tensor.zeros([1, 4], 'f32');
    const counts = { batch: 2 ** 32, nRegisters: 0, nVisible: 0, nMasked: 2 ** 32 };
    expect(errorOf(() => ops.tokensForward({ tokens, maskToken: token, ...counts }))).toEqual(
      coded('ERR_CAPI_INVALID_ARGUMENT', /counts/),
    );
  });
});

describe('work in flight', () => {
  test('keeps its memory when the owner lets go', async () => {
    const a = Tensor.from(new Float32Array(512 * 512).fill(1), [512, 512], 'f32');
    const c = Tensor.zeros([512, 512], 'f32');
    for (let i = 0; i < 10; i++) ops.gemm({ a, b: a, c });
    const result = c.readFloats();
    a[Symbol.dispose]();
    c[Symbol.dispose]();
    expect(new Set(await result)).toEqual(new Set([512]));
  });

  test('keeps the caller\u2019s array out: it may change at once', async () => {
    using tensor = Tensor.zeros([1, 1000], 'f32');
    const values = new Float32Array(1000).fill(3);
    tensor.write(values);
    values.fill(4);
    expect(new Set(await tensor.readFloats())).toEqual(new Set([3]));
  });

  test('leaves the event loop free', async () => {
    using a = Tensor.zeros([1024, 1024], 'f32');
    using c = Tensor.zeros([1024, 1024], 'f32');
    let turns = 0;
    let done = false;
    for (let i = 0; i < 5; i++) ops.gemm({ a, b: a, c });
    const finished = addon.synchronize().then(() => {
      done = true;
    });
    while (!done) {
      turns += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await finished;
    expect(turns).toBeGreaterThan(10);
  });
});

describe('tensors and arenas', () => {
  test('are refused before allocation and after disposal, with the reason', () => {
    const arena = new Arena('activations');
    const tensor = arena.reserve([2, 2], 'f32');
    expect(errorOf(() => tensor.handle)).toEqual(coded('ERR_CAPI_DISPOSED', /activations to be allocated/));
    arena.allocate();
    expect(errorOf(() => arena.reserve([1], 'f32'))).toEqual(coded('ERR_CAPI_INVALID_ARGUMENT'));
    arena[Symbol.dispose]();
    arena[Symbol.dispose]();
    expect(errorOf(() => tensor.handle)).toEqual(coded('ERR_CAPI_DISPOSED', /disposed/));
  });

  test('of absurd size say so by code', () => {
    const arena = new Arena('activations');
    arena.reserve([2 ** 25, 2 ** 25], 'f32');
    expect(errorOf(() => arena.allocate())).toEqual(coded('ERR_CAPI_OUT_OF_MEMORY'));
  });

  test('refuse ranges and values that do not fit', () => {
    using tensor = Tensor.zeros([4, 6], 'f32');
    const mismatch = coded('ERR_CAPI_SHAPE_MISMATCH');
    expect(errorOf(() => tensor.rowRange(2, 5))).toEqual(mismatch);
    expect(errorOf(() => tensor.rowRange(-1, 2))).toEqual(mismatch);
    expect(errorOf(() => tensor.columnRange(3, 2))).toEqual(mismatch);
    expect(errorOf(() => tensor.columnRange(0, 1.5))).toEqual(mismatch);
    expect(errorOf(() => tensor.view([5, 5]))).toEqual(mismatch);
    expect(errorOf(() => tensor.columnRange(0, 3).view([12]))).toEqual(mismatch);
    expect(errorOf(() => tensor.write([1, 2, 3]))).toEqual(mismatch);
  });
});

describe('threads', () => {
  const before = addon.threads();
  afterEach(() => addon.setThreads(before));

  test.each([1, 2, 7, 1024])('%d are accepted and work', async (count) => {
    addon.setThreads(count);
    expect(addon.threads()).toBe(count);
    using tensor = Tensor.from(new Float32Array(3000).fill(2), [30, 100], 'f32');
    using sums = Tensor.zeros([1, 100], 'f32');
    ops.sumRows({ x: tensor, y: sums });
    expect(new Set(await sums.readFloats())).toEqual(new Set([60]));
  });

  test.each([0, -1, 1025, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '2', undefined])(
    '%p is refused and changes nothing',
    (count) => {
      expect(errorOf(() => addon.setThreads(count as number))).toEqual(
        coded('ERR_CAPI_INVALID_ARGUMENT', /\[1, 1024\]/),
      );
      expect(addon.threads()).toBe(before);
    },
  );
});
