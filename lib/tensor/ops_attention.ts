import type { Tensor } from './tensor.js';

/** How queries and keys carry their positions: METHOD section 4. */
export type RopeKind = 'coupled' | 'axial' | 'none';

/** What forward and backward share. b images of q, each with nQ rows; d = width / heads, a multiple of 4. */
export interface AttentionOptions {
  /** f32 | bf16 [b · nQ, heads · d], rows may be strided. */
  readonly q: Tensor;
  /** Dtype of q [bContext · nK, heads · d], rows may be strided. */
  readonly k: Tensor;
  /** Dtype of q [bContext · nK, heads · d], rows may be strided. */
  readonly v: Tensor;
  /** Dtype of q [b · nQ, heads · d], rows may be strided. */
  readonly out: Tensor;
  readonly heads: number;
  readonly nQ: number;
  readonly nK: number;
  readonly rope: RopeKind;
  /** f32 [B · nQ, 2]; needed unless rope is `none`, as are the next two. */
  readonly qCoordinates?: Tensor | undefined;
  /** f32 [B · nK, 2]; the same tensor as qCoordinates for self-attention. */
  readonly kCoordinates?: Tensor | undefined;
  /** f32 [2, d]: angle = coordinates @ frequencies. */
  readonly frequencies?: Tensor | undefined;
  /** i32 [1, b] in [0, B): image i takes the coordinates of images[i]; absent: its own. */
  readonly images?: Tensor | undefined;
  /** i32 [1, b] in [0, bContext), distinct: image i attends to the rows of that image; absent: to its own. */
  readonly contextImages?: Tensor | undefined;
}

export interface RopeOptions {
  /** f32 | bf16 [n, heads · d], d a multiple of 4. */
  readonly x: Tensor;
  /** f32 [n, 2], shared by the heads. */
  readonly coordinates: Tensor;
  /** f32 [2, d]: angle = coordinates @ frequencies. */
  readonly frequencies: Tensor;
  readonly heads: number;
  readonly rope: 'coupled' | 'axial';
}

export interface AttentionOps {
  /**
   * `out = softmax(rope(q) rope(k)ᵀ / √d) v` for each image and head.
   * @param options.lse f32 [b · heads, nQ]: log of the softmax denominator, saved for the backward pass
   */
  attentionForward(options: AttentionOptions & { readonly lse?: Tensor | undefined }): void;

  /**
   * Gradients of q, k and v, which may be written over q, k and v. Rows of context images that no image
   * attends to get zero.
   * @param options.gradFrequencies f32 [2, d], overwritten
   */
  attentionBackward(
    options: AttentionOptions & {
      readonly lse: Tensor;
      readonly gradOut: Tensor;
      readonly gradQ: Tensor;
      readonly gradK: Tensor;
      readonly gradV: Tensor;
      readonly gradFrequencies?: Tensor | undefined;
    },
  ): void;

  /**
   * Rotary encoding of rows alone, as attention applies it to queries and keys. METHOD section 4.
   * @param options.y f32 [n, heads · d]
   */
  ropeForward(options: RopeOptions & { readonly y: Tensor }): void;

  /**
   * The transpose of `ropeForward`, and the gradient of the frequencies.
   * @param options.gradY f32 [n, heads · d]
   * @param options.gradX dtype of x [n, heads · d]; may be x
   * @param options.gradFrequencies f32 [2, d], overwritten
   */
  ropeBackward(
    options: RopeOptions & {
      readonly gradY: Tensor;
      readonly gradX: Tensor;
      readonly gradFrequencies?: Tensor | undefined;
    },
  ): void;
}
