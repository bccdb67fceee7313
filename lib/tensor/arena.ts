/**
 * Memory planned before it exists. Tensors are reserved in an arena, at fixed offsets; `allocate` then gets all
 * of it at once, so that a training step allocates nothing. `mark` and `release` let phases that never overlap
 * in time share the same bytes.
 */
import { addon, type Backend, type Storage } from '../native/addon.js';
import { CapiError } from '../native/errors.js';
import { type Dtype, dtypeBytes } from './dtype.js';
import { Tensor } from './tensor.js';

/** A cache line, the width of the widest vector, and more than a GPU's widest access needs. */
const ALIGNMENT = 64;

export class Arena implements Disposable {
  readonly name: string;
  readonly backend: Backend;
  #next = 0;
  #peak = 0;
  #storage: Storage | undefined;
  #disposed = false;

  constructor(name: string, backend: Backend = 'cpu') {
    this.name = name;
    this.backend = backend;
  }

  /** The most bytes that were ever reserved at once: what `allocate` gets. */
  get bytes(): number {
    return this.#peak;
  }

  /** Reserves a tensor. Throws ERR_CAPI_INVALID_ARGUMENT once allocated. */
  reserve(shape: readonly number[], dtype: Dtype): Tensor {
    if (this.#storage) {
      throw new CapiError('ERR_CAPI_INVALID_ARGUMENT', `Expected arena ${this.name} not to be allocated yet`);
    }
    const elements = shape.reduce((product, size) => product * size, 1);
    const offset = this.#next;
    this.#next += Math.ceil((elements * dtypeBytes[dtype]) / ALIGNMENT) * ALIGNMENT;
    this.#peak = Math.max(this.#peak, this.#next);
    return Tensor.inArena(this, offset, shape, dtype);
  }

  /** Everything reserved after `mark` may be overwritten by what is reserved after `release(mark)`. */
  mark(): number {
    return this.#next;
  }

  release(mark: number): void {
    this.#next = mark;
  }

  /** Gets the memory, zeroed. Throws ERR_CAPI_OUT_OF_MEMORY, ERR_CAPI_BACKEND_UNAVAILABLE. */
  allocate(): void {
    this.#storage ??= new addon.Storage(this.#peak, this.backend);
  }

  /** For Tensor: the memory behind it. Throws ERR_CAPI_DISPOSED. */
  storage(): Storage {
    if (!this.#storage) {
      throw new CapiError(
        'ERR_CAPI_DISPOSED',
        `Expected arena ${this.name} to be ${this.#disposed ? 'alive but it was disposed' : 'allocated first'}`,
      );
    }
    return this.#storage;
  }

  /** Idempotent. Work in flight keeps the memory until it is done. */
  [Symbol.dispose](): void {
    this.#storage?.dispose();
    this.#storage = undefined;
    this.#disposed = true;
  }
}
