/** Tensors of one case on the backend under test, freed together. */
import type { Dtype } from '../../lib/tensor/dtype.js';
import { Tensor } from '../support/tensor.js';
import type { GoldenFile } from './golden_file.js';

export class Workspace implements Disposable {
  readonly #file: GoldenFile;
  readonly #owned: Tensor[] = [];

  constructor(file: GoldenFile) {
    this.#file = file;
  }

  /** The file's tensor as f32; shape: its own by default. */
  load(name: string, shape: readonly number[] = this.#file.shape(name)): Tensor {
    return this.from(this.#file.floats(name), shape);
  }

  from(values: ArrayLike<number>, shape: readonly number[], dtype: Dtype = 'f32'): Tensor {
    const tensor = Tensor.from(values, shape, dtype);
    this.#owned.push(tensor);
    return tensor;
  }

  /** i32 [1, n] */
  indices(values: ArrayLike<number>): Tensor {
    return this.from(values, [1, values.length], 'i32');
  }

  /** An output: NaN everywhere, so that an element that is not written is seen. */
  output(shape: readonly number[], dtype: 'f32' | 'f64' = 'f32'): Tensor {
    const size = shape.reduce((product, length) => product * length, 1);
    return this.from(new Float64Array(size).fill(Number.NaN), shape, dtype);
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#owned) tensor[Symbol.dispose]();
  }
}
