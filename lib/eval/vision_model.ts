/**
 * A pretrained backbone for inference: `loadModel(checkpoint)`, then images in, features out. Weights come from a run, a
 * checkpoint, or any safetensors file under the published names (METHOD section 11).
 */
import { existsSync } from 'node:fs';
import { loadCheckpoint, resolveCheckpoint } from '../checkpoint/checkpoint.js';
import { asFloat32, readSafetensors, type TensorEntry } from '../checkpoint/safetensors.js';
import { addBackbone } from '../model/backbone_layout.js';
import { FeatureExtractor } from '../model/feature_extractor.js';
import { initialize } from '../model/initialize.js';
import { type ModelConfig, numPositions, patchValues } from '../model/model_config.js';
import type { Backend } from '../native/addon.js';
import { type BackendRequest, selectBackend } from '../native/backend.js';
import { CapiError, invalidArgument } from '../native/errors.js';
import { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import { ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';
import { inferModelConfig } from './infer_model_config.js';

export interface LoadModelOptions {
  /** Which of a run's networks; default `student_ema`, the teacher. */
  readonly weights?: 'student_ema' | 'student' | undefined;
  /** Side of the square images, pixels: a multiple of the patch size. Default: as trained; 224 where that is not known. */
  readonly imageSize?: number | undefined;
  /** Images a forward pass computes at once; default 16. */
  readonly batchSize?: number | undefined;
  /** Where it computes; default `auto`. */
  readonly backend?: BackendRequest | undefined;
}

export interface VisionModelOptions {
  /** Images a forward pass computes at once. */
  readonly batchSize: number;
  readonly backend: Backend;
}

export interface Features {
  /** f32 [images, D] */
  readonly globalRepr: Float32Array;
  /** f32 [images, R, D] */
  readonly registers: Float32Array;
  /** f32 [images, rows, cols, D]: the encoder's normalised patch features */
  readonly featureMap: Float32Array;
}

/**
 * Reads weights and makes a model of them.
 * Throws ERR_CAPI_CHECKPOINT_NOT_FOUND, …_CORRUPT, …_MISMATCH, ERR_CAPI_INVALID_ARGUMENT (image size), and for CUDA
 * ERR_CAPI_BACKEND_UNAVAILABLE and ERR_CAPI_OUT_OF_MEMORY.
 */
export async function loadModel(path: string, options: LoadModelOptions = {}): Promise<VisionModel> {
  const { weights = 'student_ema', batchSize = 16 } = options;
  const { backend } = selectBackend(options.backend ?? 'auto', 'backend: ');
  const { entries, config } = await readBackbone(path, weights);
  const trained = (config as { data?: { images_size?: number } } | undefined)?.data?.images_size;
  const model = new VisionModel(inferModelConfig(entries, config, options.imageSize ?? trained ?? 224), {
    batchSize,
    backend,
  });
  try {
    model.load(entries);
    return model;
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
}

/** The backbone's tensors under their bare names, and the run's configuration where there is one. */
async function readBackbone(
  path: string,
  weights: string,
): Promise<{ entries: Map<string, TensorEntry>; config: unknown }> {
  const state = await resolveCheckpoint(path);
  const { tensors, config } = existsSync(state)
    ? state.endsWith('.safetensors')
      ? { tensors: (await readSafetensors(state)).entries, config: undefined }
      : await loadCheckpoint(state, (name) => name.startsWith(`${weights}.`)).then((loaded) => ({
          tensors: loaded.tensors,
          config: loaded.state.config,
        }))
    : { tensors: (await readSafetensors(path)).entries, config: undefined };
  const entries = new Map<string, TensorEntry>();
  for (const entry of tensors) {
    const bare = entry.name.startsWith(`${weights}.`) ? entry.name.slice(weights.length + 1) : entry.name;
    entries.set(bare, entry);
  }
  return { entries, config };
}

export class VisionModel implements Disposable {
  readonly config: ModelConfig;
  /** Images of one forward pass. */
  readonly batchSize: number;
  readonly #arena: Arena;
  readonly #weights: ParameterSet;
  readonly #images: Tensor;
  readonly #patches: Tensor;
  readonly #extractor: FeatureExtractor;

  /** Weights are zero until `load` or `initialize`. */
  constructor(config: ModelConfig, { batchSize, backend }: VisionModelOptions) {
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw invalidArgument('batchSize', 'an integer >= 1', batchSize);
    }
    this.config = { ...config, dtype: 'f32' };
    this.batchSize = batchSize;
    this.#arena = new Arena('model', backend);
    const layout = new ParameterLayout();
    addBackbone(layout, this.config);
    this.#weights = new ParameterSet(layout, this.#arena, 'f32');
    const [height, width] = this.imageSize;
    this.#images = this.#arena.reserve([batchSize, height * width * 3], 'u8');
    this.#patches = this.#arena.reserve([batchSize * numPositions(config), patchValues(config)], 'f32');
    this.#extractor = new FeatureExtractor({
      config: this.config,
      arena: this.#arena,
      weights: { values: this.#weights, master: this.#weights },
      images: batchSize,
      kept: batchSize,
      predictorKept: batchSize,
    });
    this.#arena.allocate();
  }

  get backend(): Backend {
    return this.#arena.backend;
  }

  /** [height, width] of the images, pixels. */
  get imageSize(): readonly [number, number] {
    const { grid, patchSize } = this.config;
    return [grid[0] * patchSize, grid[1] * patchSize];
  }

  /** Takes the weights by name. Throws ERR_CAPI_CHECKPOINT_MISMATCH with every missing or differently shaped tensor. */
  load(entries: ReadonlyMap<string, TensorEntry>): void {
    const problems: string[] = [];
    for (const { name, shape, size } of this.#weights.layout.parameters) {
      const entry = entries.get(name);
      const values = entry && asFloat32(entry);
      if (!values) problems.push(`missing: ${name} [${shape.join(', ')}]`);
      else if (values.length !== size) {
        problems.push(`${name}: [${entry.shape.join(', ')}] in the file, [${shape.join(', ')}] in the model`);
      } else this.#weights.matrix(name).write(values);
    }
    if (problems.length === 0) return;
    throw new CapiError(
      'ERR_CAPI_CHECKPOINT_MISMATCH',
      `The weights do not fit the model (${problems.length} differences):\n  ${problems.join('\n  ')}`,
    );
  }

  /** The weights that a training run with this seed starts from. */
  initialize(seed: number): void {
    initialize(this.#weights, seed, 0);
  }

  /**
   * Features of any number of images, f32 whatever the weights were trained in. Calls may overlap.
   * Throws ERR_CAPI_INVALID_ARGUMENT when `pixels` is not a whole number of images, ERR_CAPI_DISPOSED.
   * @param pixels u8 [images, height, width, 3], RGB, of `imageSize`
   */
  async forward(pixels: Uint8Array): Promise<Features> {
    const [height, width] = this.imageSize;
    const bytes = height * width * 3;
    const images = pixels.length / bytes;
    if (!Number.isInteger(images)) {
      throw new CapiError(
        'ERR_CAPI_INVALID_ARGUMENT',
        `Expected images of [${height}, ${width}, 3] = ${bytes} bytes each but received ${pixels.length} bytes`,
      );
    }
    const { width: D, registers, patchSize } = this.config;
    const positions = numPositions(this.config);
    const features: Features = {
      globalRepr: new Float32Array(images * D),
      registers: new Float32Array(images * registers * D),
      featureMap: new Float32Array(images * positions * D),
    };
    const batch = new Uint8Array(this.batchSize * bytes);
    for (let first = 0; first < images; first += this.batchSize) {
      const count = Math.min(this.batchSize, images - first);
      batch.set(pixels.subarray(first * bytes, (first + count) * bytes));
      this.#images.write(batch);
      ops.patchify({ images: this.#images, out: this.#patches, height, width, patch: patchSize });
      this.#extractor.forward(this.#patches);
      // All are asked for before any is awaited: another call may enqueue its batch in between.
      const { globalRepr, registers: registerTokens, featureMap } = this.#extractor;
      await Promise.all([
        copyRows(globalRepr, features.globalRepr, first * D, count * D),
        copyRows(featureMap, features.featureMap, first * positions * D, count * positions * D),
        registerTokens &&
          copyRows(registerTokens, features.registers, first * registers * D, count * registers * D),
      ]);
    }
    return features;
  }

  [Symbol.dispose](): void {
    this.#arena[Symbol.dispose]();
  }
}

/** The first `length` values of a result, to `offset` of `target`. */
async function copyRows(result: Tensor, target: Float32Array, offset: number, length: number): Promise<void> {
  target.set((await result.readFloats()).subarray(0, length), offset);
}
