/** One batch on the device: pixels, which patches are seen and which are predicted. */
import type { Config } from '../config/schema.js';
import { numPositions, patchValues } from '../model/model_config.js';
import type { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Network } from './network.js';

/** What the loader delivers. */
export interface HostBatch {
  /** u8 [B, S, S, 3] */
  readonly images: Uint8Array;
  /** u8 [B]: 1 = mirrored */
  readonly flips: Uint8Array;
  /** i32 [B, 2]: low and high word of each sample's global number, which its masks are drawn from */
  readonly samples: Int32Array;
}

const maskKinds = { InverseBlock: 'inverse_block', Block: 'block', Uniform: 'uniform' } as const;

/** How this run draws its masks. */
export function maskOptions({ data, train }: Config, { model, masked }: Network) {
  const { roll, min_aspect: minAspect, max_aspect: maxAspect } = data.masking_generator_kwargs;
  return {
    kind: maskKinds[data.masking_generator],
    roll,
    minAspect,
    maxAspect: maxAspect ?? 1 / minAspect,
    gridRows: model.grid[0],
    gridCols: model.grid[1],
    nMasked: masked,
    seed: train.seed,
  };
}

export class Batch {
  /** u8 [B, S·S·3], u8 [1, B], i32 [B, 2] */
  readonly images: Tensor;
  readonly flips: Tensor;
  readonly samples: Tensor;
  /** [B·N, 3·patchSize²]: normalised pixels. Lives until the teacher is done. */
  readonly patches: Tensor;
  /** [B·V, 3·patchSize²] */
  readonly visiblePatches: Tensor;
  /** i32 [1, B·V] and [1, B·P] into the flattened batch [0, B·N) */
  readonly visible: Tensor;
  readonly predict: Tensor;
  readonly #network: Network;
  readonly #config: Config;

  /**
   * @param lasting memory for the whole step
   * @param reservePatches reserves `patches` in the teacher's phase
   */
  constructor(config: Config, network: Network, lasting: Arena, reservePatches: (shape: number[]) => Tensor) {
    const { images, visible, predicted, model } = network;
    const size = config.data.images_size;
    this.#network = network;
    this.#config = config;
    this.images = lasting.reserve([images, size * size * 3], 'u8');
    this.flips = lasting.reserve([1, images], 'u8');
    this.samples = lasting.reserve([images, 2], 'i32');
    this.visible = lasting.reserve([1, images * visible], 'i32');
    this.predict = lasting.reserve([1, images * predicted], 'i32');
    this.visiblePatches = lasting.reserve([images * visible, patchValues(model)], model.dtype);
    this.patches = reservePatches([images * numPositions(model), patchValues(model)]);
  }

  /** Enqueues the copy to the device. */
  upload({ images, flips, samples }: HostBatch): void {
    this.images.write(images);
    this.flips.write(flips);
    this.samples.write(samples);
  }

  /** Enqueues: pixels to normalised patches, masks by the samples' numbers. METHOD sections 2 and 3. */
  prepare(): void {
    const { data } = this.#config;
    const { model } = this.#network;
    ops.patchify({
      images: this.images,
      flips: this.flips,
      height: data.images_size,
      width: data.images_size,
      patch: model.patchSize,
      out: this.patches,
    });
    ops.generateMasks({
      ...maskOptions(this.#config, this.#network),
      samples: this.samples,
      visible: this.visible,
      predict: this.predict,
    });
    this.selectVisible();
  }

  /** Enqueues: the student's rows of the patch matrix. */
  selectVisible(): void {
    ops.gatherRows({ x: this.patches, indices: this.visible, y: this.visiblePatches });
  }
}
