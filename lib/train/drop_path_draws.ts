/** Which images each residual branch of the student keeps, drawn anew in each iteration. */
import type { DropPath } from '../model/build.js';
import { keptImages } from '../model/model_config.js';
import type { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Network } from './network.js';

export class DropPathDraws {
  /** i32 [branches, images kept]; absent where every branch keeps every image. */
  readonly encoder: DropPath | undefined;
  readonly predictor: DropPath | undefined;
  readonly #images: number;
  /** i32 [1, 1] */
  readonly #iteration: Tensor;

  constructor({ model, images }: Network, arena: Arena) {
    const reserve = (depth: number, rate: number): DropPath | undefined =>
      rate > 0 && depth > 0
        ? { indices: arena.reserve([2 * depth, keptImages(images, rate)], 'i32') }
        : undefined;
    this.encoder = reserve(model.encoderDepth, model.encoderDropPath);
    this.predictor = reserve(model.predictorDepth, model.predictorDropPath);
    this.#images = images;
    this.#iteration = arena.reserve([1, 1], 'i32');
  }

  /** Enqueues the number that the next draws follow from. Apart from `draw`, which a replayed step repeats as it is. */
  setIteration(iteration: number): void {
    this.#iteration.write([iteration]);
  }

  /** Enqueues. */
  draw(seed: number): void {
    let firstBranch = 0;
    for (const dropPath of [this.encoder, this.predictor]) {
      if (!dropPath) continue;
      const { indices } = dropPath;
      ops.dropPathIndices({ indices, iteration: this.#iteration, batch: this.#images, seed, firstBranch });
      firstBranch += indices.rows;
    }
  }
}
