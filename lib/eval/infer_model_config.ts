/** The architecture that a set of weights has, read off the tensors' names and shapes. */
import type { TensorEntry } from '../checkpoint/safetensors.js';
import { names } from '../model/backbone_layout.js';
import type { ModelConfig, PositionKind, PredictorKind } from '../model/model_config.js';
import { CapiError, invalidArgument } from '../native/errors.js';

/** What shapes do not tell; from the run's configuration where the checkpoint has one, else as published. */
interface Choices {
  readonly position?: PositionKind;
  readonly predictor?: PredictorKind;
  readonly register_coordinates?: ModelConfig['registerCoordinates'];
  readonly scale_reg_to_visible?: boolean;
  readonly norm_layer_kwargs?: { readonly eps?: number };
}

export function inferModelConfig(
  entries: ReadonlyMap<string, TensorEntry>,
  runConfig: unknown,
  imageSize: number,
): ModelConfig {
  const choices = ((runConfig as { model?: Choices } | undefined)?.model ?? {}) as Choices;
  const [width = 0, , patchSize = 0] = shapeOf(entries, names.patchWeight);
  const [, headDim = 0] = shapeOf(entries, names.block('encoder', 0).frequencies);
  const registers = entries.get(names.registers)?.shape[1] ?? 0;
  if (imageSize < patchSize || imageSize % patchSize !== 0) {
    const below = Math.floor(imageSize / patchSize) * patchSize;
    const near = below > 0 ? `${below} or ${below + patchSize}` : String(patchSize);
    throw invalidArgument(
      'the image size (imageSize, --size)',
      `a multiple of the patch size (${patchSize}), such as ${near},`,
      imageSize,
    );
  }
  const side = imageSize / patchSize;
  return {
    patchSize,
    grid: [side, side],
    width,
    numHeads: width / headDim,
    encoderDepth: depth(entries, 'encoder'),
    predictorDepth: depth(entries, 'decoder'),
    predictor: choices.predictor ?? 'cross',
    registers,
    registerCoordinates: choices.register_coordinates ?? 'edge',
    scaleRegistersToVisible: choices.scale_reg_to_visible ?? true,
    position: choices.position ?? (entries.has(names.positions) ? 'learned' : 'rope_coupled'),
    ropeFrequencies: [7, 7e-4], // only for a first value: the weights hold the frequencies
    encoderDropPath: 0,
    predictorDropPath: 0,
    normEps: choices.norm_layer_kwargs?.eps ?? 1e-5,
    dtype: 'f32',
  };
}

function depth(entries: ReadonlyMap<string, TensorEntry>, stack: 'encoder' | 'decoder'): number {
  let blocks = 0;
  while (entries.has(names.block(stack, blocks).fc1)) blocks += 1;
  return blocks;
}

function shapeOf(entries: ReadonlyMap<string, TensorEntry>, name: string): readonly number[] {
  const entry = entries.get(name);
  if (entry) return entry.shape;
  throw new CapiError(
    'ERR_CAPI_CHECKPOINT_MISMATCH',
    `Expected a tensor named ${name} (weights under the published names) but there is none among ${entries.size} tensors`,
  );
}
