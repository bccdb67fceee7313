/**
 * Inference: features of whole images, every patch visible. METHOD section 4, last bullet. The fused variant has no
 * predictor of its own; there the image's representation is the mean of its patch features.
 */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Build } from './build.js';
import { Encoder } from './encoder.js';
import { numPositions } from './model_config.js';
import { makePredictor, type Predictor } from './predictor.js';

export class FeatureExtractor {
  /** f32 [B, D]: the mean over all positions of the first predictor block's normalised answers */
  readonly globalRepr: Tensor;
  /** [B, R, D], normalised; absent without registers */
  readonly registers: Tensor | undefined;
  /** [B, N, D]: the encoder's normalised patch tokens */
  readonly featureMap: Tensor;
  readonly #build: Build;
  readonly #encoder: Encoder;
  /** One block deep, asked at every position. */
  readonly #predictor: Predictor | undefined;
  /** [B·(R+N), D] */
  readonly #context: Tensor | undefined;

  constructor(build: Build) {
    const { arena, config, images } = build;
    const { width, registers, dtype } = config;
    const positions = numPositions(config);
    this.#build = { ...build, kept: images, predictorKept: images };
    this.globalRepr = arena.reserve([images, width], 'f32');
    this.registers = registers > 0 ? arena.reserve([images, registers, width], dtype) : undefined;
    this.featureMap = arena.reserve([images, positions, width], dtype);
    this.#encoder = new Encoder(this.#build, { visible: positions, training: false });
    if (config.predictor === 'fused') return;
    const { tokens } = this.#encoder;
    this.#context = arena.reserve([images * tokens, width], dtype);
    this.#predictor = makePredictor(
      { ...this.#build, config: { ...config, predictorDepth: 1 } },
      { contextTokens: tokens, predicted: positions, training: false },
    );
  }

  /** `patches` [B·N, 3·patchSize²]: normalised pixels of every patch. */
  forward(patches: Tensor): void {
    const { registers } = this.#build.config;
    const { stack, coordinates } = this.#encoder;
    this.#encoder.forward({ patches });
    stack.normForward(this.featureMap, registers, numPositions(this.#build.config));
    if (this.registers) stack.normForward(this.registers, 0, registers);
    if (this.#predictor && this.#context) {
      stack.normForward(this.#context);
      this.#predictor.forward({ context: this.#context, contextCoordinates: coordinates });
    }
    this.#averagePositions(this.#predictor?.predictions ?? this.featureMap);
  }

  /** `globalRepr` = the mean of each image's rows of `answers` [B·N, D]. */
  #averagePositions(answers: Tensor): void {
    const positions = numPositions(this.#build.config);
    for (let image = 0; image < this.#build.images; image++) {
      ops.sumRows({
        x: answers.rowRange(image * positions, (image + 1) * positions),
        y: this.globalRepr.rowRange(image, image + 1),
        scale: 1 / positions,
      });
    }
  }
}
