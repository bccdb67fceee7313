/** What a run will need, before it starts: parameters, memory by lifetime, arithmetic an image. */
import type { Config } from '../config/schema.js';
import { type ModelConfig, mlpRatio, numPositions, patchValues } from '../model/model_config.js';
import type { Backend } from '../native/addon.js';
import { selectBackend } from '../native/backend.js';
import type { Network } from './network.js';
import { TrainingRun } from './training_run.js';

export interface Plan {
  /** Where it is planned for: chunks differ in size. */
  readonly backend: Backend;
  readonly parameters: {
    /** Its blocks. */
    readonly encoder: number;
    /** Its blocks. */
    readonly predictor: number;
    /** Patch embedding, registers, mask token, learned positions. */
    readonly tokens: number;
    readonly studentHead: number;
    readonly clusteringHead: number;
  };
  /** Bytes. */
  readonly memory: {
    /** Weights, their EMA and bf16 copies. */
    readonly parameters: number;
    readonly gradients: number;
    /** Adam's moments and constants. */
    readonly optimizer: number;
    /** What a step makes and drops, at its largest. */
    readonly activations: number;
    readonly peak: number;
  };
  /** Floating-point operations for one image in one training step: 2 a multiply-add, backward passes at twice the forward. */
  readonly flopsPerImage: {
    readonly teacher: number;
    readonly studentEncoder: number;
    readonly predictor: number;
    readonly clusteringHead: number;
    readonly studentHeadAndPatches: number;
    readonly total: number;
  };
  /** An image's patches: all, visible to the student, predicted. */
  readonly patches: { readonly all: number; readonly visible: number; readonly predicted: number };
  readonly images: number;
}

/** Plans a run; allocates nothing and needs no device. Throws what the configuration's checks throw. */
export function planTraining(config: Config, backend: Backend = chosenBackend(config)): Plan {
  using run = new TrainingRun(config, { backend });
  const { layout, clusteringLayout, network, memory } = run;
  const bytes = {
    parameters: memory.parameters.bytes,
    gradients: memory.gradients.bytes,
    optimizer: memory.optimizer.bytes,
    activations: memory.activations.bytes,
  };
  return {
    backend,
    parameters: {
      encoder: layout.count((name) => name.startsWith('backbone.encoder.blocks.')),
      predictor: layout.count((name) => name.startsWith('backbone.decoder.blocks.')),
      tokens: layout.count((name) => name.startsWith('backbone.') && !name.includes('.blocks.')),
      studentHead: layout.count((name) => name.startsWith('head.')),
      clusteringHead: clusteringLayout.count(),
    },
    memory: { ...bytes, peak: Object.values(bytes).reduce((sum, part) => sum + part, 0) },
    flopsPerImage: flops(network, config),
    patches: {
      all: numPositions(network.model),
      visible: network.visible,
      predicted: network.predicted,
    },
    images: network.images,
  };
}

/** `cuda` where the configuration asks for it, whether this machine has it or not. */
function chosenBackend({ efficiency: { backend } }: Config): Backend {
  return backend === 'auto' ? selectBackend(backend, 'efficiency.backend=').backend : backend;
}

function flops(network: Network, config: Config): Plan['flopsPerImage'] {
  const { model, clustering, visible, predicted } = network;
  const { width: D, registers, predictor } = model;
  const N = numPositions(model);
  const K = clustering.numClusters;
  const forwardAndBackward = 3;
  const encoderKeep = 1 - model.encoderDropPath;
  const predictorKeep = 1 - model.predictorDropPath;

  const teacher =
    config.capi.target_source === 'pixels' ? 0 : model.encoderDepth * selfBlock(model, registers + N);
  const context = registers + visible;
  const tokens = predictor === 'fused' ? context + predicted : context;
  const studentEncoder = forwardAndBackward * encoderKeep * model.encoderDepth * selfBlock(model, tokens);
  const predictorBlock =
    predictor === 'self' ? selfBlock(model, context + predicted) : crossBlock(model, predicted, context);
  const predictorFlops = forwardAndBackward * predictorKeep * model.predictorDepth * predictorBlock;
  // The head's input is constant: forward and weight gradient.
  const clusteringHead = 2 * 2 * N * clustering.width * K;
  const patch = 2 * patchValues(model) * D;
  const mlpHead = network.head.kind === 'mlp' ? 2 * 2 * mlpRatio * D * D : 0;
  const studentHead = forwardAndBackward * predicted * (2 * D * K + mlpHead);
  const patches = (teacher > 0 ? N * patch : 0) + 2 * visible * patch;
  return {
    teacher,
    studentEncoder,
    predictor: predictorFlops,
    clusteringHead,
    studentHeadAndPatches: studentHead + patches,
    total: teacher + studentEncoder + predictorFlops + clusteringHead + studentHead + patches,
  };
}

/** Forward pass of a block on n tokens that attend to each other. */
function selfBlock({ width: D }: ModelConfig, n: number): number {
  return 2 * n * (4 + 2 * mlpRatio) * D * D + 4 * n * n * D;
}

/** Forward pass of a block of n queries on m context tokens. */
function crossBlock({ width: D }: ModelConfig, n: number, m: number): number {
  return 2 * n * (2 + 2 * mlpRatio) * D * D + 2 * m * 2 * D * D + 4 * n * m * D;
}
