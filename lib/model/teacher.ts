/** What is clustered: the teacher's normalised patch features, of every patch, registers dropped. METHOD section 5. */
import type { Tensor } from '../tensor/tensor.js';
import type { Build } from './build.js';
import { Encoder } from './encoder.js';
import { numPositions } from './model_config.js';

export class Teacher {
  /** [B·N, D] */
  readonly features: Tensor;
  readonly #encoder: Encoder;
  readonly #registers: number;
  readonly #positions: number;

  constructor(build: Build) {
    const { arena, config, images } = build;
    this.#registers = config.registers;
    this.#positions = numPositions(config);
    this.features = arena.reserve([images * this.#positions, config.width], config.dtype);
    this.#encoder = new Encoder(build, { visible: this.#positions, training: false });
  }

  /** `patches` [B·N, 3·patchSize²] to `features`. */
  forward(patches: Tensor): void {
    this.#encoder.forward({ patches });
    this.#encoder.stack.normForward(this.features, this.#registers, this.#positions);
  }
}
