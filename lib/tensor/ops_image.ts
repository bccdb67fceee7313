import type { Tensor } from './tensor.js';

/** A box of an image and whether it is mirrored. */
export interface CropBox {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
  readonly flip: boolean;
}

export interface ImageOps {
  /**
   * Normalises, mirrors and cuts images into rows of patches, columns in the order channel, row, column. METHOD sections 2 and 4.
   * @param options.images u8 [B, height · width · 3], pixels interleaved
   * @param options.flips u8 [1, B], nonzero: mirrored; absent: none
   * @param options.out f32 | bf16 [B · N, 3 · patch²]
   */
  patchify(options: {
    readonly images: Tensor;
    readonly flips?: Tensor | undefined;
    readonly out: Tensor;
    readonly height: number;
    readonly width: number;
    readonly patch: number;
  }): void;

  /**
   * Antialiased bicubic resize of a box, bit for bit as Pillow's. Runs at once in the calling thread.
   * @param options.image [height, width, 3]
   * @param options.out [outHeight, outWidth, 3]
   */
  resizeCrop(options: {
    readonly image: Uint8Array;
    readonly height: number;
    readonly width: number;
    readonly top: number;
    readonly left: number;
    readonly boxHeight: number;
    readonly boxWidth: number;
    readonly out: Uint8Array;
    readonly outHeight: number;
    readonly outWidth: number;
  }): void;

  /** RandomResizedCrop's box and RandomHorizontalFlip's coin, as a function of the options only. METHOD section 2. */
  cropParameters(options: {
    readonly seed: number;
    /** The global sample number, an integer below 2^53. */
    readonly sample: number;
    readonly height: number;
    readonly width: number;
    readonly minScale: number;
    readonly maxScale: number;
    readonly minAspect: number;
    readonly maxAspect: number;
    readonly flipProbability: number;
  }): CropBox;

  /** Which of `count` images stands at `index` in the shuffled order of an epoch: a bijection of [0, count). */
  permuteIndex(options: {
    readonly seed: number;
    readonly epoch: number;
    readonly index: number;
    readonly count: number;
  }): number;
}
