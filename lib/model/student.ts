/** The student's backbone: visible patches in, a prediction for each predicted position out. */
import type { Tensor } from '../tensor/tensor.js';
import type { Build, DropPath } from './build.js';
import { Encoder, type EncoderInput } from './encoder.js';
import { makePredictor, type Predictor, type PredictorInput } from './predictor.js';

export interface StudentInput {
  /** [B·V, 3·patchSize²] */
  readonly patches: Tensor;
  /** i32 [1, B·V] and [1, B·P] into the flattened batch [0, B·N) */
  readonly visible: Tensor;
  readonly predict: Tensor;
  /** Absent without stochastic depth. */
  readonly encoderDropPath?: DropPath | undefined;
  readonly predictorDropPath?: DropPath | undefined;
}

export interface StudentBackbone {
  /** [B·P, D] */
  readonly predictions: Tensor;
  forward(input: StudentInput): void;
  /** Fills the gradients of every backbone parameter. */
  backward(input: StudentInput, gradPredictions: Tensor): void;
}

export interface StudentOptions {
  /** V and P, an image */
  readonly visible: number;
  readonly predicted: number;
}

export function makeStudent(build: Build, options: StudentOptions): StudentBackbone {
  return build.config.predictor === 'fused'
    ? new FusedStudent(build, options)
    : new SplitStudent(build, options);
}

/** Encoder, then predictor. */
class SplitStudent implements StudentBackbone {
  readonly #encoder: Encoder;
  readonly #predictor: Predictor;
  /** [B·n, D] */
  readonly #context: Tensor;
  readonly #gradContext: Tensor;
  readonly #grad: Tensor;

  constructor(build: Build, { visible, predicted }: StudentOptions) {
    const { arena, config, images } = build;
    this.#encoder = new Encoder(build, { visible, training: true });
    const reserve = () => arena.reserve([images * this.#encoder.tokens, config.width], config.dtype);
    this.#context = reserve();
    this.#gradContext = reserve();
    this.#grad = reserve();
    this.#predictor = makePredictor(build, {
      contextTokens: this.#encoder.tokens,
      predicted,
      training: true,
    });
  }

  get predictions(): Tensor {
    return this.#predictor.predictions;
  }

  forward(input: StudentInput): void {
    this.#encoder.forward(this.#encoderInput(input));
    this.#encoder.stack.normForward(this.#context);
    this.#predictor.forward(this.#predictorInput(input));
  }

  backward(input: StudentInput, gradPredictions: Tensor): void {
    this.#predictor.backward(this.#predictorInput(input), gradPredictions, this.#gradContext);
    this.#encoder.stack.normBackward(this.#gradContext, this.#grad);
    this.#encoder.backward(this.#encoderInput(input), this.#grad);
  }

  #encoderInput({ patches, visible, encoderDropPath }: StudentInput): EncoderInput {
    return { patches, visible, dropPath: encoderDropPath };
  }

  #predictorInput({ predict, predictorDropPath }: StudentInput): PredictorInput {
    const contextCoordinates = this.#encoder.coordinates;
    return { context: this.#context, contextCoordinates, predict, dropPath: predictorDropPath };
  }
}

/** One stack for both: mask tokens stand beside the visible patches from the first block on. */
class FusedStudent implements StudentBackbone {
  readonly predictions: Tensor;
  readonly #encoder: Encoder;
  readonly #predicted: number;
  readonly #firstPrediction: number;
  readonly #grad: Tensor;

  constructor(build: Build, { visible, predicted }: StudentOptions) {
    const { arena, config, images } = build;
    this.#encoder = new Encoder(build, { visible, masked: predicted, training: true });
    this.#predicted = predicted;
    this.#firstPrediction = config.registers + visible;
    this.predictions = arena.reserve([images * predicted, config.width], config.dtype);
    this.#grad = arena.reserve([images * this.#encoder.tokens, config.width], config.dtype);
  }

  forward(input: StudentInput): void {
    this.#encoder.forward(this.#encoderInput(input));
    this.#encoder.stack.normForward(this.predictions, this.#firstPrediction, this.#predicted);
  }

  backward(input: StudentInput, gradPredictions: Tensor): void {
    this.#encoder.stack.normBackward(gradPredictions, this.#grad, this.#firstPrediction, this.#predicted);
    this.#encoder.backward(this.#encoderInput(input), this.#grad);
  }

  #encoderInput({ patches, visible, predict, encoderDropPath }: StudentInput): EncoderInput {
    return { patches, visible, masked: predict, dropPath: encoderDropPath };
  }
}
