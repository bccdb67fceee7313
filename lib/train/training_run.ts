/**
 * Everything a training run holds, planned before it is allocated: weights, their EMA, gradients, optimizer state and the
 * memory of a step. Building one is cheap and needs no memory, so `capi plan` builds one too.
 */
import type { Config } from '../config/schema.js';
import { type Communicator, localCommunicator } from '../distributed/communicator.js';
import { ClusteringHead, type ClusteringWeights, clusteringWeights } from '../loss/clustering_head.js';
import type { Build } from '../model/build.js';
import { keptImages } from '../model/model_config.js';
import { makeStudent, type StudentBackbone, type StudentInput } from '../model/student.js';
import { headNames, StudentHead, weightEps } from '../model/student_head.js';
import { Teacher } from '../model/teacher.js';
import type { Backend } from '../native/addon.js';
import type { AdamW } from '../optim/adamw.js';
import { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import type { ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import { Replayable } from '../tensor/replayable.js';
import type { Tensor } from '../tensor/tensor.js';
import { Batch } from './batch.js';
import { DropPathDraws } from './drop_path_draws.js';
import { type Network, network } from './network.js';
import { clusteringOptimizer, type RunSchedules, runSchedules, studentOptimizer } from './run_optimizers.js';
import { RunParameters } from './run_parameters.js';
import { type StepResults, stepResults } from './step_results.js';

/** The arenas, by lifetime. */
export interface Memory {
  readonly parameters: Arena;
  readonly gradients: Arena;
  readonly optimizer: Arena;
  /** Everything a step makes and drops again; the teacher's phase and the student's share its bytes. */
  readonly activations: Arena;
}

/** Where a run computes. */
export interface RunPlace {
  readonly backend?: Backend;
  readonly communicator?: Communicator;
}

export class TrainingRun implements Disposable {
  readonly config: Config;
  readonly backend: Backend;
  readonly network: Network;
  readonly communicator: Communicator;
  readonly memory: Memory;
  readonly schedules: RunSchedules;
  /** What trainStep enqueues, one CUDA graph where there is a GPU. */
  readonly step: Replayable;

  readonly layout: ParameterLayout;
  readonly clusteringLayout: ParameterLayout;
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

  readonly #parameters: RunParameters;
  readonly #dropPath: DropPathDraws;
  /** The `ema_head` ablation: [K, D]. */
  readonly #emaHeadWeight: Tensor | undefined;

  constructor(config: Config, { backend = 'cpu', communicator = localCommunicator }: RunPlace = {}) {
    this.config = config;
    this.backend = backend;
    this.communicator = communicator;
    this.step = new Replayable(backend);
    this.memory = {
      parameters: new Arena('parameters', backend),
      gradients: new Arena('gradients', backend),
      optimizer: new Arena('optimizer', backend),
      activations: new Arena('activations', backend),
    };
    this.network = network(config);
    this.schedules = runSchedules(config);
    const { model, head, clustering, images, visible, predicted } = this.network;
    const { optimizer, activations } = this.memory;

    // What outlives a step.
    this.#parameters = new RunParameters(config, this.network, this.memory);
    this.layout = this.#parameters.layout;
    this.clusteringLayout = this.#parameters.clusteringLayout;
    this.student = this.#parameters.student;
    this.studentEma = this.#parameters.studentEma;
    this.clusteringWeights = this.#parameters.clusteringWeights;
    this.teacherMaster = this.#parameters.teacherMaster;
    this.gradients = this.#parameters.gradients;
    this.clusteringGradients = this.#parameters.clusteringGradients;
    this.optimizer = studentOptimizer(config, this.#parameters, optimizer);
    this.clusteringOptimizer = clusteringOptimizer(config, this.#parameters, optimizer);

    // What lives for the whole step.
    const K = head.numClusters;
    this.results = stepResults(activations, K);
    this.targets = activations.reserve([images * predicted, K], model.dtype);
    this.#emaHeadWeight =
      config.capi.loss_variant === 'ema_head'
        ? activations.reserve([K, model.width], model.dtype)
        : undefined;
    this.#dropPath = new DropPathDraws(this.network, activations);
    let teacherPhase = 0;
    this.batch = new Batch(config, this.network, activations, (shape) => {
      teacherPhase = activations.mark();
      return activations.reserve(shape, model.dtype);
    });

    // The teacher's phase.
    this.teacher = config.capi.target_source === 'pixels' ? undefined : new Teacher(this.#teacherBuild());
    this.clustering = new ClusteringHead(clustering, activations, optimizer, this.results.clusteringLoss);

    // The student's phase, in the same bytes.
    activations.release(teacherPhase);
    const build = this.#studentBuild();
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
    this.#parameters.initialize(this.config.train.seed);
  }

  /** Enqueues: bf16 operands from the f32 weights. Needed after weights were written from outside. */
  refreshCopies(): void {
    this.#parameters.refreshCopies();
  }

  /** What the student's passes read. */
  get studentInput(): StudentInput {
    return {
      patches: this.batch.visiblePatches,
      visible: this.batch.visible,
      predict: this.batch.predict,
      encoderDropPath: this.#dropPath.encoder,
      predictorDropPath: this.#dropPath.predictor,
    };
  }

  /** Enqueues what the next step has of its own: rates and momentum, the number that drop-path is drawn from. */
  setIteration(iteration: number): void {
    const { learningRate, momentum, clusteringLearningRate } = this.schedules;
    this.optimizer.setRates({
      learningRate: learningRate.at(iteration),
      momentum: momentum.at(iteration),
    });
    this.clusteringOptimizer.setRates({ learningRate: clusteringLearningRate.at(iteration) });
    this.#dropPath.setIteration(iteration);
  }

  /** Enqueues: which images each residual branch keeps in this iteration. */
  drawDropPath(): void {
    this.#dropPath.draw(this.config.train.seed);
  }

  /** Weights of the head that assigns: the clustering head, or the EMA of the student's. */
  assigningWeights(): ClusteringWeights {
    const values = this.#parameters.clusteringBf16 ?? this.clusteringWeights;
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

  /** The teacher drops no path and needs no gradients. */
  #teacherBuild(): Build {
    const { model, images } = this.network;
    return {
      config: model,
      arena: this.memory.activations,
      weights: {
        values: this.#parameters.teacherBf16 ?? this.teacherMaster,
        master: this.teacherMaster,
      },
      images,
      kept: images,
      predictorKept: images,
    };
  }

  #studentBuild(): Build {
    const { model, images } = this.network;
    return {
      config: model,
      arena: this.memory.activations,
      weights: {
        values: this.#parameters.studentBf16 ?? this.student,
        master: this.student,
        gradients: this.gradients,
        trainFrequencies: this.config.optim.rope_lr_mult > 0,
      },
      images,
      kept: keptImages(images, model.encoderDropPath),
      predictorKept: keptImages(images, model.predictorDropPath),
    };
  }

  [Symbol.dispose](): void {
    this.step[Symbol.dispose]();
    for (const arena of Object.values(this.memory) as Arena[]) arena[Symbol.dispose]();
  }
}
