/** One op at one shape, for the harness in measure.ts. */
import type { Backend } from '../../lib/native/addon.js';
import type { ComputeDtype, Dtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';

export interface OpCase {
  /** "gemm", "attention", … */
  readonly op: string;
  /** Where in the step, and the sizes. */
  readonly shape: string;
  readonly dtype: ComputeDtype;
  /** Operations, where there are enough to be the limit. */
  readonly flops: number;
  /** Bytes that must move, each input and output once. */
  readonly bytes: number;
  /** The same work in benchmarks/baselines/ops.py. */
  readonly torch?: string;
  /** PyTorch has something to fuse: compare with torch.compile too. */
  readonly fusible?: boolean;
  /** Kernels that PyTorch has for it on a GPU, each to be measured. */
  readonly gpuForms?: readonly string[];
  /** The CPU does it on every backend. */
  readonly onHost?: boolean;
  /** Makes one set of inputs. */
  readonly make: (inputs: Inputs) => Work;
}

export interface Work {
  /** Enqueues the op once. */
  readonly run: () => void;
  /** Enqueues what makes the inputs fresh again after an op in place; untimed. */
  readonly restore?: () => void;
}

/** Makes and owns the tensors of a case. Values are random: zeros would flatter. */
export class Inputs implements Disposable {
  readonly #backend: Backend;
  readonly #tensors: Tensor[] = [];
  #stream = 0;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  get bytes(): number {
    return this.#tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  }

  random(shape: readonly number[], dtype: ComputeDtype, scale = 1): Tensor {
    const x = this.empty(shape, dtype);
    ops.fillRandom({ x, distribution: 'normal', scale, seed: 1, stream: this.#stream++ });
    return x;
  }

  /** For outputs. */
  empty(shape: readonly number[], dtype: Dtype): Tensor {
    return this.#own(Tensor.zeros(shape, dtype, this.#backend));
  }

  values(values: ArrayLike<number>, shape: readonly number[], dtype: Dtype): Tensor {
    return this.#own(Tensor.from(values, shape, dtype, this.#backend));
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors) tensor[Symbol.dispose]();
  }

  #own(tensor: Tensor): Tensor {
    this.#tensors.push(tensor);
    return tensor;
  }
}

export const bytesOf = (dtype: ComputeDtype): number => (dtype === 'f32' ? 4 : 2);
