/**
 * A typed, shaped view of native memory. Ops see it as a matrix: all axes but the last are rows. Tensors own
 * nothing: the arena that they were reserved in does.
 */
import type { Backend, Matrix } from '../native/addon.js';
import { CapiError } from '../native/errors.js';
import { Arena } from './arena.js';
import { type Dtype, dtypeBytes, fromBf16, type HostArray, hostArray, toBf16 } from './dtype.js';

export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly #arena: Arena;
  readonly #byteOffset: number;
  /** Elements between the starts of two rows. */
  readonly #stride: number;
  #handle: Matrix | undefined;
  /** Views made before, so that a step makes none after the first. */
  readonly #views = new Map<string, Tensor>();

  private constructor(
    arena: Arena,
    byteOffset: number,
    shape: readonly number[],
    dtype: Dtype,
    stride: number,
  ) {
    this.#arena = arena;
    this.#byteOffset = byteOffset;
    this.shape = shape;
    this.dtype = dtype;
    this.#stride = stride;
  }

  /** For Arena.reserve. */
  static inArena(arena: Arena, byteOffset: number, shape: readonly number[], dtype: Dtype): Tensor {
    return new Tensor(arena, byteOffset, shape, dtype, shape.at(-1) ?? 1);
  }

  /** A tensor with memory of its own, zeroed, for callers outside a planned run. Dispose of it with `dispose`. */
  static zeros(shape: readonly number[], dtype: Dtype, backend: Backend = 'cpu'): Tensor {
    const arena = new Arena(`tensor [${shape.join(', ')}]`, backend);
    const tensor = arena.reserve(shape, dtype);
    arena.allocate();
    return tensor;
  }

  /** The same, with values; numbers are rounded to the dtype. */
  static from(
    values: ArrayLike<number>,
    shape: readonly number[],
    dtype: Dtype,
    backend: Backend = 'cpu',
  ): Tensor {
    const tensor = Tensor.zeros(shape, dtype, backend);
    tensor.write(values);
    return tensor;
  }

  /** Columns: the length of the last axis. */
  get cols(): number {
    return this.shape.at(-1) ?? 1;
  }

  get rows(): number {
    return this.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  }

  /** Elements. */
  get size(): number {
    return this.rows * this.cols;
  }

  get bytes(): number {
    return this.size * dtypeBytes[this.dtype];
  }

  /** What the native side reads. Throws ERR_CAPI_DISPOSED when the arena was not allocated or is gone. */
  get handle(): Matrix {
    const storage = this.#arena.storage();
    this.#handle ??= storage.matrix(this.#byteOffset, this.dtype, this.rows, this.cols, this.#stride);
    return this.#handle;
  }

  /** The same elements under another shape. Needs contiguous rows. */
  view(shape: readonly number[]): Tensor {
    const size = shape.reduce((product, length) => product * length, 1);
    if (size !== this.size || this.#stride !== this.cols) {
      throw new CapiError(
        'ERR_CAPI_SHAPE_MISMATCH',
        `Expected a view of ${this.size} contiguous elements but received shape [${shape.join(', ')}]`,
      );
    }
    return this.#remember(
      `view ${shape.join()}`,
      () => new Tensor(this.#arena, this.#byteOffset, shape, this.dtype, shape.at(-1) ?? 1),
    );
  }

  /** Rows [begin, end) as a matrix. */
  rowRange(begin: number, end: number): Tensor {
    this.#checkRange('rows', begin, end, this.rows);
    const offset = this.#byteOffset + begin * this.#stride * dtypeBytes[this.dtype];
    return this.#remember(
      `rows ${begin} ${end}`,
      () => new Tensor(this.#arena, offset, [end - begin, this.cols], this.dtype, this.#stride),
    );
  }

  /** Columns [begin, end) of every row, as a strided matrix. */
  columnRange(begin: number, end: number): Tensor {
    this.#checkRange('columns', begin, end, this.cols);
    const offset = this.#byteOffset + begin * dtypeBytes[this.dtype];
    const stride = this.rows === 1 ? end - begin : this.#stride; // one row is contiguous
    return this.#remember(
      `columns ${begin} ${end}`,
      () => new Tensor(this.#arena, offset, [this.rows, end - begin], this.dtype, stride),
    );
  }

  /** Enqueues a copy of `values` into the tensor; the array may be reused at once. */
  write(values: ArrayLike<number>): void {
    this.handle.write(this.#asHostArray(values));
  }

  /** The elements, once everything enqueued so far has run. bf16 comes as its bits; see `readFloats`. */
  async read(): Promise<HostArray> {
    return hostArray(this.dtype, await this.handle.read());
  }

  /** The elements as numbers, whatever the dtype. */
  async readFloats(): Promise<Float32Array | Float64Array> {
    const values = await this.read();
    if (values instanceof Uint16Array) return fromBf16(values);
    return values instanceof Float32Array || values instanceof Float64Array
      ? values
      : Float64Array.from(values);
  }

  /** Frees the whole arena behind the tensor: for tensors made by `zeros` and `from`. */
  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }

  #remember(key: string, make: () => Tensor): Tensor {
    const known = this.#views.get(key);
    if (known) return known;
    const made = make();
    this.#views.set(key, made);
    return made;
  }

  #asHostArray(values: ArrayLike<number>): HostArray {
    if (values.length !== this.size) {
      throw new CapiError(
        'ERR_CAPI_SHAPE_MISMATCH',
        `Expected ${this.size} values for shape [${this.shape.join(', ')}] but received ${values.length}`,
      );
    }
    switch (this.dtype) {
      case 'f32':
        return values instanceof Float32Array ? values : new Float32Array(values);
      case 'bf16':
        return values instanceof Uint16Array ? values : toBf16(values);
      case 'f64':
        return values instanceof Float64Array ? values : new Float64Array(values);
      case 'i32':
        return values instanceof Int32Array ? values : new Int32Array(values);
      case 'u8':
        return values instanceof Uint8Array ? values : new Uint8Array(values);
    }
  }

  #checkRange(what: string, begin: number, end: number, length: number): void {
    if (!(Number.isInteger(begin) && Number.isInteger(end) && begin >= 0 && begin <= end && end <= length)) {
      throw new CapiError(
        'ERR_CAPI_SHAPE_MISMATCH',
        `Expected ${what} within [0, ${length}) but received [${begin}, ${end})`,
      );
    }
  }
}
