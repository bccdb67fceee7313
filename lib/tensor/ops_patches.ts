import type { Tensor } from './tensor.js';

/** How many tokens of each kind an image has, in this order. */
export interface TokenLayout {
  /** B */
  readonly batch: number;
  /** R */
  readonly nRegisters: number;
  /** V */
  readonly nVisible: number;
  /** M */
  readonly nMasked: number;
}

export interface PatchesOps {
  /**
   * Visible patches, and those to predict, of every image. METHOD section 3. A function of (seed, sample).
   * @param options.kind `inverse_block` keeps a block visible, `block` masks one, `uniform` masks a random subset
   * @param options.roll shift the block cyclically in both axes (default true)
   * @param options.minAspect,maxAspect of the block, rows / cols (default 0.5 and 2)
   * @param options.nMasked masked patches of an image
   * @param options.samples i32 [B, 2]: low and high word of the global sample number
   * @param options.visible i32 [1, B·(N − nMasked)] into the flattened batch [0, B·N), ascending
   * @param options.predict i32 [1, B·P]: P of each image's masked patches, ascending
   */
  generateMasks(options: {
    readonly kind: 'uniform' | 'block' | 'inverse_block';
    readonly roll?: boolean | undefined;
    readonly minAspect?: number | undefined;
    readonly maxAspect?: number | undefined;
    readonly gridRows: number;
    readonly gridCols: number;
    readonly nMasked: number;
    readonly seed: number;
    readonly samples: Tensor;
    readonly visible?: Tensor | undefined;
    readonly predict?: Tensor | undefined;
  }): void;

  /**
   * `y[i] = x[indices[i]]`.
   * @param options.x any dtype [rows, cols]
   * @param options.indices i32 [1, n] in [0, rows); one outside makes a row of NaN (0 in integer dtypes)
   * @param options.y dtype of x [n, cols]
   */
  gatherRows(options: { readonly x: Tensor; readonly indices: Tensor; readonly y: Tensor }): void;

  /**
   * The tokens of every image: registers, embedded patches, mask tokens. METHOD section 4.
   * @param options.tokens f32 | bf16 [B·(R+V+M), D]
   * @param options.registers f32 or dtype of tokens [R, D]; absent when R is 0
   * @param options.patches dtype of tokens [B·V, D]; absent when V is 0
   * @param options.maskToken dtype of registers [1, D]; absent when M is 0
   * @param options.positions dtype of registers [N, D]: learned positions, added to patches and mask tokens
   * @param options.visible i32 [1, B·V] into the flattened batch [0, B·N); absent: V = N, in order
   * @param options.masked i32 [1, B·M], the same
   */
  tokensForward(
    options: {
      readonly tokens: Tensor;
      readonly registers?: Tensor | undefined;
      readonly patches?: Tensor | undefined;
      readonly maskToken?: Tensor | undefined;
      readonly positions?: Tensor | undefined;
      readonly visible?: Tensor | undefined;
      readonly masked?: Tensor | undefined;
    } & TokenLayout,
  ): void;

  /**
   * Gradients of `tokensForward`, each only where given. Parameters' are f32 and overwritten.
   * @param options.gradTokens f32 | bf16 [B·(R+V+M), D]
   * @param options.gradRegisters f32 [R, D]
   * @param options.gradPatches dtype of gradTokens [B·V, D]
   * @param options.gradMaskToken f32 [1, D]
   * @param options.gradPositions f32 [N, D]
   */
  tokensBackward(
    options: {
      readonly gradTokens: Tensor;
      readonly gradRegisters?: Tensor | undefined;
      readonly gradPatches?: Tensor | undefined;
      readonly gradMaskToken?: Tensor | undefined;
      readonly gradPositions?: Tensor | undefined;
      readonly visible?: Tensor | undefined;
      readonly masked?: Tensor | undefined;
    } & TokenLayout,
  ): void;

  /**
   * Coordinates in [0, 1]² (row, column) of registers, then patches. METHOD section 4.
   * @param options.out f32 [B·(R+n), 2]
   * @param options.indices i32 [1, B·n] into the flattened batch [0, B·N), image-major; absent: every patch
   * @param options.registerKind `edge` (R a multiple of 4) or `zeros`
   * @param options.scaleToVisible map registers into the box of the image's patch coordinates (default true)
   */
  coordinates(options: {
    readonly out: Tensor;
    readonly indices?: Tensor | undefined;
    readonly gridRows: number;
    readonly gridCols: number;
    readonly registers: number;
    readonly registerKind: 'edge' | 'zeros';
    readonly scaleToVisible?: boolean | undefined;
  }): void;
}
