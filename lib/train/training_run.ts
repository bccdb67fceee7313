/**
 * Everything a training run holds, planned before it is allocated: weights, their EMA, gradients, optimizer state and the
 * memory of a step. Building one is cheap and needs no memory, so `capi plan` builds one too.
 */
import type { Config } from '../config/schema.js';
import { type Communicator, localCommunicator } from '../distributed/communicator.js';
import {
  addClusteringHead,
  ClusteringHead,
  type ClusteringWeights,
  clusteringWeights,
} from '../loss/clustering_head.js';
import { addBackbone } from '../model/backbone_layout.js';
import type { Build, DropPath, Weights } from '../model/build.js';
import { initialize } from '../model/initialize.js';
import { keptImages } from '../model/model_config.js';
import { makeStudent, type StudentBackbone, type StudentInput } from '../model/student.js';
import { addStudentHead, headNames, StudentHead, weightEps } from '../model/student_head.js';
import { Teacher } from '../model/teacher.js';
import { AdamW, studentMultipliers } from '../optim/adamw.js';
import { type Schedule, scheduleFromConfig } from '../optim/schedule.js';
import { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import { ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';
import { Batch } from './batch.js';
import { type Network, network } from './network.js';

/** Results of a step, small, read when they are wanted. */
export interface StepResults {
  /** f64 [1, 1] */
  readonly capiLoss: Tensor;
  readonly clusteringLoss: Tensor;
  /** i32 [1, 1]: losses and gradients that are not finite; the step changed nothing when this is not 0 */
  readonly nonfinite: Tensor;
  /** f32 [1, 1] and [1, K]: mean entropy of the targets, mean mass of each prototype */
  readonly targetEntropy: Tensor;
  readonly mass: Tensor;
  /** f64 [1, 2]: variance of teacher features between positions, and in all */
  readonly collapse: Tensor;
}

/** The arenas, by lifetime. */
export interface Memory {
  readonly parameters: Arena;
  readonly gradients: Arena;
  readonly optimizer: Arena;
  /** Everything a step makes and drops again; the teacher's phase and the student's share its bytes. */
  readonly activations: Arena;
}

export class TrainingRun implements Disposable {
  readonly config: Config;
  readonly network: Network;
  readonly communicator: Communicator;
  readonly memory: Memory;
  readonly layout = new ParameterLayout();
  readonly clusteringLayout = new ParameterLayout();
  readonly schedules: {
    readonly learningRate: Schedule;
    readonly momentum: Schedule;
    readonly clusteringLearningRate: Schedule;
  };

  /** f32 sets that a checkpoint keeps. */
  readonly student: ParameterSet;
  readonly studentEma: ParameterSet;
  readonly clusteringWeights: ParameterSet;
  /** The frozen teacher's weights, else the EMA. */
  readonly teacherMaster: ParameterSet;
  readonly gradients: ParameterSet;
  readonly clusteringGradients: ParameterSet;
  readonly optimizer: AdamW;
  readonly clusteringOptimizer: AdamW;

  readonly batch: Batch;
  /** Absent when pixels are clustered. */
  readonly teacher: Teacher | undefined;
  readonly clustering: ClusteringHead;
  /** [B·P, K] */
  readonly targets: Tensor;
  readonly backbone: StudentBackbone;
  readonly head: StudentHead;
  /** [B·P, D] */
  readonly gradPredictions: Tensor;
  readonly results: StepResults;

  readonly #studentBf16: ParameterSet | undefined;
  readonly #teacherBf16: ParameterSet | undefined;
  readonly #clusteringBf16: ParameterSet | undefined;
  readonly #encoderDropPath: DropPath | undefined;
  readonly #predictorDropPath: DropPath | undefined;
  /** The `ema_head` ablation: [K, D]. */
  readonly #emaHeadWeight: Tensor | undefined;

  constructor(config: Config, communicator: Communicator = localCommunicator) {
    this.config = config;
    this.communicator = communicator;
    this.network = network(config);
    const { model, head, clustering, images, visible, predicted } = this.network;
    const { capi, optim } = config;
    const half = model.dtype === 'bf16';
    this.memory = {
      parameters: new Arena('parameters'),
      gradients: new Arena('gradients'),
      optimizer: new Arena('optimizer'),
      activations: new Arena('activations'),
    };
    const { parameters, gradients, optimizer, activations } = this.memory;

    addBackbone(this.layout, model);
    addStudentHead(this.layout, model.width, head);
    addClusteringHead(this.clusteringLayout, clustering);
    this.student = new ParameterSet(this.layout, parameters, 'f32');
    this.studentEma = new ParameterSet(this.layout, parameters, 'f32');
    this.clusteringWeights = new ParameterSet(this.clusteringLayout, parameters, 'f32');
    const frozen = capi.target_source === 'frozen_teacher';
    this.teacherMaster = frozen ? new ParameterSet(this.layout, parameters, 'f32') : this.studentEma;
    const bf16Copy = (layout: ParameterLayout) =>
      half ? new ParameterSet(layout, parameters, 'bf16') : undefined;
    this.#studentBf16 = bf16Copy(this.layout);
    this.#teacherBf16 = bf16Copy(this.layout);
    this.#clusteringBf16 = bf16Copy(this.clusteringLayout);
    this.gradients = new ParameterSet(this.layout, gradients, 'f32');
    this.clusteringGradients = new ParameterSet(this.clusteringLayout, gradients, 'f32');

    const [beta1, beta2] = optim.optimizer_kwargs.betas;
    this.optimizer = new AdamW(
      optimizer,
      {
        master: this.student,
        gradients: this.gradients,
        bf16: this.#studentBf16,
        ema: this.studentEma,
        emaBf16: frozen ? undefined : this.#teacherBf16,
      },
      {
        beta1,
        beta2,
        eps: optim.optimizer_kwargs.eps,
        weightDecay: optim.weight_decay,
        multipliers: studentMultipliers({
          patchEmbed: optim.patch_embed_lr_mult,
          rope: optim.rope_lr_mult,
          norm: optim.layernorm_wd_mult,
        }),
      },
    );
    const { kwargs, lr_schedule } = capi.clustering_optimizer;
    this.clusteringOptimizer = new AdamW(
      optimizer,
      { master: this.clusteringWeights, gradients: this.clusteringGradients, bf16: this.#clusteringBf16 },
      {
        beta1: kwargs.betas[0],
        beta2: kwargs.betas[1],
        eps: kwargs.eps,
        weightDecay: kwargs.weight_decay,
        multipliers: () => ({ learningRate: 1, weightDecay: 1 }),
      },
    );
    this.schedules = {
      learningRate: scheduleFromConfig(optim.lr_schedule, optim.total_iters),
      momentum: scheduleFromConfig(optim.momentum_schedule, optim.total_iters),
      clusteringLearningRate: scheduleFromConfig(lr_schedule, optim.total_iters),
    };

    // What lives for the whole step.
    const K = head.numClusters;
    this.results = {
      capiLoss: activations.reserve([1, 1], 'f64'),
      clusteringLoss: activations.reserve([1, 1], 'f64'),
      nonfinite: activations.reserve([1, 1], 'i32'),
      targetEntropy: activations.reserve([1, 1], 'f32'),
      mass: activations.reserve([1, K], 'f32'),
      collapse: activations.reserve([1, 2], 'f64'),
    };
    this.targets = activations.reserve([images * predicted, K], model.dtype);
    this.#emaHeadWeight =
      capi.loss_variant === 'ema_head' ? activations.reserve([K, model.width], model.dtype) : undefined;
    const dropPath = (depth: number, rate: number): DropPath | undefined =>
      rate > 0 && depth > 0
        ? { indices: activations.reserve([2 * depth, keptImages(images, rate)], 'i32') }
        : undefined;
    this.#encoderDropPath = dropPath(model.encoderDepth, model.encoderDropPath);
    this.#predictorDropPath = dropPath(model.predictorDepth, model.predictorDropPath);
    let teacherPhase = 0;
    this.batch = new Batch(config, this.network, activations, (shape) => {
      teacherPhase = activations.mark();
      return activations.reserve(shape, model.dtype);
    });

    // The teacher's phase.
    const teacherBuild: Build = {
      config: model,
      arena: activations,
      weights: { values: this.#teacherBf16 ?? this.teacherMaster, master: this.teacherMaster },
      images,
      kept: images,
      predictorKept: images,
    };
    this.teacher = capi.target_source === 'pixels' ? undefined : new Teacher(teacherBuild);
    this.clustering = new ClusteringHead(clustering, activations, optimizer, this.results.clusteringLoss);

    // The student's phase, in the same bytes.
    activations.release(teacherPhase);
    const weights: Weights = {
      values: this.#studentBf16 ?? this.student,
      master: this.student,
      gradients: this.gradients,
      trainFrequencies: optim.rope_lr_mult > 0,
    };
    const build: Build = {
      config: model,
      arena: activations,
      weights,
      images,
      kept: keptImages(images, model.encoderDropPath),
      predictorKept: keptImages(images, model.predictorDropPath),
    };
    this.backbone = makeStudent(build, { visible, predicted });
    this.gradPredictions = activations.reserve([images * predicted, model.width], model.dtype);
    this.head = new StudentHead(build, head, images * predicted);
  }

  /** Gets all memory and writes the first weights. Throws ERR_CAPI_OUT_OF_MEMORY. */
  start(): void {
    for (const arena of Object.values(this.memory) as Arena[]) arena.allocate();
    this.optimizer.prepare();
    this.clusteringOptimizer.prepare();
    this.clustering.prepare();
    const { seed } = this.config.train;
    initialize(this.student, seed, 0);
    initialize(this.clusteringWeights, seed, this.layout.parameters.length);
    ops.copy({ x: this.student.flat, y: this.studentEma.flat });
    this.refreshCopies();
  }

  /** Enqueues: bf16 operands from the f32 weights. Needed after weights were written from outside. */
  refreshCopies(): void {
    const pairs = [
      [this.student, this.#studentBf16],
      [this.teacherMaster, this.#teacherBf16],
      [this.clusteringWeights, this.#clusteringBf16],
    ] as const;
    for (const [master, bf16] of pairs) if (bf16) ops.cast({ x: master.flat, y: bf16.flat });
  }

  /** What the student's passes read. */
  get studentInput(): StudentInput {
    return {
      patches: this.batch.visiblePatches,
      visible: this.batch.visible,
      predict: this.batch.predict,
      encoderDropPath: this.#encoderDropPath,
      predictorDropPath: this.#predictorDropPath,
    };
  }

  /** Enqueues: which images each residual branch keeps in this iteration. */
  drawDropPath(iteration: number): void {
    const { seed } = this.config.train;
    const batch = this.network.images;
    let firstBranch = 0;
    for (const dropPath of [this.#encoderDropPath, this.#predictorDropPath]) {
      if (!dropPath) continue;
      const { indices } = dropPath;
      ops.dropPathIndices({ indices, batch, seed, iteration, firstBranch });
      firstBranch += indices.rows;
    }
  }

  /** Weights of the head that assigns: the clustering head, or the EMA of the student's. */
  assigningWeights(): ClusteringWeights {
    const values = this.#clusteringBf16 ?? this.clusteringWeights;
    if (!this.#emaHeadWeight) {
      return clusteringWeights(values, this.clusteringGradients, this.network.clustering.bias);
    }
    const K = this.network.head.numClusters;
    ops.weightNormForward({
      v: this.studentEma.matrix(headNames.weightV),
      g: this.studentEma.matrix(headNames.weightG).view([K, 1]),
      weight: this.#emaHeadWeight,
      eps: weightEps,
    });
    return { weight: this.#emaHeadWeight };
  }

  [Symbol.dispose](): void {
    for (const arena of Object.values(this.memory) as Arena[]) arena[Symbol.dispose]();
  }
}
