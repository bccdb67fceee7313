/**
 * Predictors: mask tokens at the predicted positions, answered from the encoder's output. `cross` (the method):
 * queries attend to the encoder's tokens alone. `self` (an ablation): both attend to each other.
 */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Context } from './attention_branch.js';
import { names } from './backbone_layout.js';
import { type Build, type DropPath, gradient, gradients } from './build.js';
import { Transformer, type TransformerCall } from './transformer.js';

export interface PredictorInput {
  /** [B·n, D]: the encoder's normalised output, registers included */
  readonly context: Tensor;
  /** f32 [B·n, 2] */
  readonly contextCoordinates: Tensor;
  /** i32 [1, B·P] into the flattened batch; absent: every position */
  readonly predict?: Tensor | undefined;
  readonly dropPath?: DropPath | undefined;
}

export interface PredictorOptions {
  /** n: tokens of the context an image has. */
  readonly contextTokens: number;
  /** P */
  readonly predicted: number;
  readonly training: boolean;
}

export interface Predictor {
  /** [B·P, D], normalised */
  readonly predictions: Tensor;
  forward(input: PredictorInput): void;
  /** `gradContext` [B·n, D] is overwritten with the gradient of the context. */
  backward(input: PredictorInput, gradPredictions: Tensor, gradContext: Tensor): void;
}

export function makePredictor(encoderBuild: Build, options: PredictorOptions): Predictor {
  const build = { ...encoderBuild, kept: encoderBuild.predictorKept };
  return build.config.predictor === 'self'
    ? new SelfPredictor(build, options)
    : new CrossPredictor(build, options);
}

/** The mask tokens and where they lie. */
class MaskTokens {
  /** f32 [B·P, 2] */
  readonly coordinates: Tensor;
  readonly #build: Build;
  readonly #predicted: number;

  constructor(build: Build, predicted: number) {
    this.#build = build;
    this.#predicted = predicted;
    this.coordinates = build.arena.reserve([build.images * predicted, 2], 'f32');
  }

  forward(tokens: Tensor, predict: Tensor | undefined): void {
    const { config, weights } = this.#build;
    ops.coordinates({
      out: this.coordinates,
      indices: predict,
      gridRows: config.grid[0],
      gridCols: config.grid[1],
      registers: 0,
      registerKind: config.registerCoordinates,
      scaleToVisible: false,
    });
    ops.tokensForward({
      tokens,
      maskToken: weights.values.matrix(names.maskToken),
      positions: this.#learned ? weights.values.matrix(names.predictorPositions) : undefined,
      masked: predict,
      ...this.#counts,
    });
  }

  backward(gradTokens: Tensor, predict: Tensor | undefined): void {
    const { weights } = this.#build;
    ops.tokensBackward({
      gradTokens,
      gradMaskToken: gradient(weights, names.maskToken),
      gradPositions: this.#learned ? gradient(weights, names.predictorPositions) : undefined,
      masked: predict,
      ...this.#counts,
    });
  }

  get #counts() {
    return { batch: this.#build.images, nRegisters: 0, nVisible: 0, nMasked: this.#predicted };
  }

  get #learned(): boolean {
    return this.#build.config.position === 'learned';
  }
}

class CrossPredictor implements Predictor {
  readonly predictions: Tensor;
  readonly #build: Build;
  readonly #options: PredictorOptions;
  readonly #maskTokens: MaskTokens;
  readonly #stack: Transformer;
  /** [B·n, 2·depth·D]: keys and values of every block, then their gradients */
  readonly #keysValues: Tensor;
  /** [B·P, D] */
  readonly #grad: Tensor | undefined;

  constructor(build: Build, options: PredictorOptions) {
    const { arena, config, images } = build;
    this.#build = build;
    this.#options = options;
    const { width, predictorDepth: depth, dtype } = config;
    this.#keysValues = arena.reserve([images * options.contextTokens, 2 * depth * width], dtype);
    this.#maskTokens = new MaskTokens(build, options.predicted);
    this.predictions = arena.reserve([images * options.predicted, width], dtype);
    this.#grad = options.training ? arena.reserve([images * options.predicted, width], dtype) : undefined;
    this.#stack = new Transformer(build, {
      stack: 'decoder',
      depth,
      tokens: options.predicted,
      cross: true,
      training: options.training,
    });
  }

  forward(input: PredictorInput): void {
    ops.gemm({
      a: input.context,
      b: this.#build.weights.values.stacked(this.#keyValueNames),
      transposeB: true,
      c: this.#keysValues,
    });
    this.#maskTokens.forward(this.#stack.input, input.predict);
    this.#stack.forward(this.#call(input));
    this.#stack.normForward(this.predictions);
  }

  backward(input: PredictorInput, gradPredictions: Tensor, gradContext: Tensor): void {
    const { weights } = this.#build;
    const grad = this.#grad as Tensor;
    this.#stack.normBackward(gradPredictions, grad);
    this.#stack.backward(this.#call(input), grad);
    this.#maskTokens.backward(grad, input.predict);
    const gradKeysValues = this.#keysValues;
    ops.gemm({ a: gradKeysValues, b: weights.values.stacked(this.#keyValueNames), c: gradContext });
    const gradWeight = gradients(weights).stacked(this.#keyValueNames);
    ops.gemm({ a: gradKeysValues, b: input.context, transposeA: true, c: gradWeight });
  }

  get #keyValueNames(): string[] {
    return Array.from({ length: this.#build.config.predictorDepth }, (_, i) =>
      names.block('decoder', i),
    ).flatMap(({ key, value }) => [key, value]);
  }

  #call(input: PredictorInput): TransformerCall {
    const D = this.#build.config.width;
    const contexts = Array.from(
      { length: this.#build.config.predictorDepth },
      (_, i): Context => ({
        keys: this.#keysValues.columnRange(2 * i * D, (2 * i + 1) * D),
        values: this.#keysValues.columnRange((2 * i + 1) * D, (2 * i + 2) * D),
        coordinates: input.contextCoordinates,
        tokens: this.#options.contextTokens,
      }),
    );
    return { coordinates: this.#maskTokens.coordinates, dropPath: input.dropPath, contexts };
  }
}

class SelfPredictor implements Predictor {
  readonly predictions: Tensor;
  readonly #images: number;
  readonly #options: PredictorOptions;
  readonly #maskTokens: MaskTokens;
  readonly #stack: Transformer;
  /** f32 [B·(n+P), 2] */
  readonly #coordinates: Tensor;
  /** [B·P, D]: mask tokens going forward, their gradient going back */
  readonly #tokens: Tensor;
  /** [B·(n+P), D] */
  readonly #grad: Tensor | undefined;

  constructor(build: Build, options: PredictorOptions) {
    const { arena, config, images } = build;
    const { width, predictorDepth: depth, dtype } = config;
    const tokens = options.contextTokens + options.predicted;
    this.#images = images;
    this.#options = options;
    this.#maskTokens = new MaskTokens(build, options.predicted);
    this.#coordinates = arena.reserve([images * tokens, 2], 'f32');
    this.#tokens = arena.reserve([images * options.predicted, width], dtype);
    this.predictions = arena.reserve([images * options.predicted, width], dtype);
    this.#grad = options.training ? arena.reserve([images * tokens, width], dtype) : undefined;
    this.#stack = new Transformer(build, {
      stack: 'decoder',
      depth,
      tokens,
      cross: false,
      training: options.training,
    });
  }

  forward(input: PredictorInput): void {
    const { contextTokens, predicted } = this.#options;
    this.#maskTokens.forward(this.#tokens, input.predict);
    this.#join(input.context, this.#tokens, this.#stack.input);
    this.#join(input.contextCoordinates, this.#maskTokens.coordinates, this.#coordinates);
    this.#stack.forward({ coordinates: this.#coordinates, dropPath: input.dropPath });
    this.#stack.normForward(this.predictions, contextTokens, predicted);
  }

  backward(input: PredictorInput, gradPredictions: Tensor, gradContext: Tensor): void {
    const { contextTokens, predicted } = this.#options;
    const grad = this.#grad as Tensor;
    this.#stack.normBackward(gradPredictions, grad, contextTokens, predicted);
    this.#stack.backward({ coordinates: this.#coordinates, dropPath: input.dropPath }, grad);
    const [front, back] = this.#split(grad);
    ops.copy({ x: front, y: gradContext.view([this.#images, front.cols]) });
    ops.copy({ x: back, y: this.#tokens.view([this.#images, back.cols]) });
    this.#maskTokens.backward(this.#tokens, input.predict);
  }

  /** Per image: the context's tokens, then the mask tokens. */
  #join(context: Tensor, masks: Tensor, joined: Tensor): void {
    const [front, back] = this.#split(joined);
    ops.copy({ x: context.view([this.#images, front.cols]), y: front });
    ops.copy({ x: masks.view([this.#images, back.cols]), y: back });
  }

  #split(joined: Tensor): [Tensor, Tensor] {
    const { contextTokens, predicted } = this.#options;
    const rows = joined.view([this.#images, (contextTokens + predicted) * joined.cols]);
    const border = contextTokens * joined.cols;
    return [rows.columnRange(0, border), rows.columnRange(border, rows.cols)];
  }
}
