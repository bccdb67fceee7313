/**
 * The encoder: patch embedding, registers in front, blocks. The student's sees the visible patches; the
 * teacher's and inference see all. With the fused predictor, mask tokens follow the patches.
 */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import { names } from './backbone_layout.js';
import { type Build, type DropPath, gradient } from './build.js';
import { patchValues } from './model_config.js';
import { Transformer } from './transformer.js';

export interface EncoderInput {
  /** [B·V, 3·patchSize²]: normalised pixels of the visible patches, image by image */
  readonly patches: Tensor;
  /** i32 [1, B·V] into the flattened batch [0, B·N), ascending; absent: every patch */
  readonly visible?: Tensor | undefined;
  /** i32 [1, B·P]; only with mask tokens */
  readonly masked?: Tensor | undefined;
  readonly dropPath?: DropPath | undefined;
}

export class Encoder {
  readonly stack: Transformer;
  /** f32 [B·n, 2] of all tokens, n = R + V + masked */
  readonly coordinates: Tensor;
  /** n */
  readonly tokens: number;
  readonly #build: Build;
  readonly #visible: number;
  readonly #masked: number;
  /** [B·V, D]: embedded patches going forward, their gradient going back */
  readonly #embedded: Tensor;
  /** f32 [B·(R+V), 2] and [B·masked, 2]: the two parts of `coordinates` where mask tokens follow */
  readonly #parts: { readonly patches: Tensor; readonly masks: Tensor } | undefined;

  constructor(
    build: Build,
    options: { readonly visible: number; readonly masked?: number; readonly training: boolean },
  ) {
    const { arena, config, images } = build;
    const { visible, masked = 0, training } = options;
    this.#build = build;
    this.#visible = visible;
    this.#masked = masked;
    this.tokens = config.registers + visible + masked;
    this.coordinates = arena.reserve([images * this.tokens, 2], 'f32');
    this.#parts =
      masked > 0
        ? {
            patches: arena.reserve([images * (config.registers + visible), 2], 'f32'),
            masks: arena.reserve([images * masked, 2], 'f32'),
          }
        : undefined;
    this.#embedded = arena.reserve([images * visible, config.width], config.dtype);
    this.stack = new Transformer(build, {
      stack: 'encoder',
      depth: config.encoderDepth,
      tokens: this.tokens,
      cross: false,
      training,
    });
  }

  forward(input: EncoderInput): void {
    const { config, weights } = this.#build;
    const { values } = weights;
    ops.gemm({
      a: input.patches,
      b: values.matrix(names.patchWeight).view([config.width, patchValues(config)]),
      transposeB: true,
      bias: values.matrix(names.patchBias),
      c: this.#embedded,
    });
    ops.tokensForward({
      tokens: this.stack.input,
      registers: config.registers > 0 ? this.#registers(values) : undefined,
      patches: this.#embedded,
      maskToken: this.#masked > 0 ? values.matrix(names.maskToken) : undefined,
      positions: config.position === 'learned' ? values.matrix(names.positions) : undefined,
      visible: input.visible,
      masked: input.masked,
      ...this.#counts,
    });
    this.#placeTokens(input);
    this.stack.forward({ coordinates: this.coordinates, dropPath: input.dropPath });
  }

  /** `grad` [B·n, D] is the gradient of the stack's output; it is overwritten. */
  backward(input: EncoderInput, grad: Tensor): void {
    const { config, weights } = this.#build;
    this.stack.backward({ coordinates: this.coordinates, dropPath: input.dropPath }, grad);
    ops.tokensBackward({
      gradTokens: grad,
      gradRegisters:
        config.registers > 0 && weights.gradients ? this.#registers(weights.gradients) : undefined,
      gradPatches: this.#embedded,
      gradMaskToken: this.#masked > 0 ? gradient(weights, names.maskToken) : undefined,
      gradPositions: config.position === 'learned' ? gradient(weights, names.positions) : undefined,
      visible: input.visible,
      masked: input.masked,
      ...this.#counts,
    });
    const gradPatchWeight = gradient(weights, names.patchWeight).view([config.width, patchValues(config)]);
    ops.gemm({ a: this.#embedded, b: input.patches, transposeA: true, c: gradPatchWeight });
    ops.sumRows({ x: this.#embedded, y: gradient(weights, names.patchBias) });
  }

  get #counts() {
    const { config, images } = this.#build;
    return { batch: images, nRegisters: config.registers, nVisible: this.#visible, nMasked: this.#masked };
  }

  #registers(set: Build['weights']['values']): Tensor {
    const { registers, width } = this.#build.config;
    return set.matrix(names.registers).view([registers, width]);
  }

  /** Coordinates of registers, patches and mask tokens. METHOD section 4. */
  #placeTokens({ visible, masked }: EncoderInput): void {
    const { config, images } = this.#build;
    const grid = { gridRows: config.grid[0], gridCols: config.grid[1] };
    const edge = { registerKind: config.registerCoordinates, scaleToVisible: config.scaleRegistersToVisible };
    const patches = this.#parts?.patches ?? this.coordinates;
    ops.coordinates({ out: patches, indices: visible, ...grid, registers: config.registers, ...edge });
    if (!this.#parts) return;
    ops.coordinates({ out: this.#parts.masks, indices: masked, ...grid, registers: 0, ...edge });
    const front = 2 * (config.registers + this.#visible);
    const rows = this.coordinates.view([images, 2 * this.tokens]);
    ops.copy({ x: patches.view([images, front]), y: rows.columnRange(0, front) });
    ops.copy({
      x: this.#parts.masks.view([images, 2 * this.#masked]),
      y: rows.columnRange(front, 2 * this.tokens),
    });
  }
}
