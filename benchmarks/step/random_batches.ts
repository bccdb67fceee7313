/** Synthetic batches: random pixels, three sets used in turn, and sample numbers that go on, so that every step masks anew. */
import { randomFillSync } from 'node:crypto';
import type { HostBatch } from '../../lib/train/batch.js';

const sets = 3;

export class RandomBatches {
  readonly #images: number;
  readonly #pixels: readonly Uint8Array[];
  #taken = 0;

  constructor(images: number, side: number) {
    this.#images = images;
    this.#pixels = Array.from({ length: sets }, () =>
      randomFillSync(new Uint8Array(images * side * side * 3)),
    );
  }

  next(): HostBatch {
    const images = this.#pixels[this.#taken % sets] ?? new Uint8Array();
    const first = this.#taken * this.#images;
    this.#taken++;
    return {
      images,
      flips: Uint8Array.from({ length: this.#images }, (_, i) => i % 2),
      samples: Int32Array.from({ length: 2 * this.#images }, (_, i) => (i % 2 === 0 ? first + i / 2 : 0)),
    };
  }
}
