/** Every copy of the parameters that a run holds: f32 weights and their EMA, the operands that ops read, gradients. */
import type { Config } from '../config/schema.js';
import { addClusteringHead } from '../loss/clustering_head.js';
import { addBackbone } from '../model/backbone_layout.js';
import { initialize } from '../model/initialize.js';
import { addStudentHead } from '../model/student_head.js';
import type { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import { ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import type { Network } from './network.js';

export interface ParameterArenas {
  readonly parameters: Arena;
  readonly gradients: Arena;
}

export class RunParameters {
  readonly layout = new ParameterLayout();
  readonly clusteringLayout = new ParameterLayout();
  /** f32. */
  readonly student: ParameterSet;
  readonly studentEma: ParameterSet;
  readonly clusteringWeights: ParameterSet;
  /** The frozen teacher's weights, else the EMA. */
  readonly teacherMaster: ParameterSet;
  /** bf16 operands, absent where ops read the f32 weights. */
  readonly studentBf16: ParameterSet | undefined;
  readonly teacherBf16: ParameterSet | undefined;
  readonly clusteringBf16: ParameterSet | undefined;
  readonly gradients: ParameterSet;
  readonly clusteringGradients: ParameterSet;

  constructor(
    { capi }: Config,
    { model, head, clustering }: Network,
    { parameters, gradients }: ParameterArenas,
  ) {
    const { layout, clusteringLayout } = this;
    addBackbone(layout, model);
    addStudentHead(layout, model.width, head);
    addClusteringHead(clusteringLayout, clustering);
    this.student = new ParameterSet(layout, parameters, 'f32');
    this.studentEma = new ParameterSet(layout, parameters, 'f32');
    this.clusteringWeights = new ParameterSet(clusteringLayout, parameters, 'f32');
    const frozen = capi.target_source === 'frozen_teacher';
    this.teacherMaster = frozen ? new ParameterSet(layout, parameters, 'f32') : this.studentEma;
    const operands = (of: ParameterLayout) =>
      model.dtype === 'bf16' ? new ParameterSet(of, parameters, 'bf16') : undefined;
    this.studentBf16 = operands(layout);
    this.teacherBf16 = operands(layout);
    this.clusteringBf16 = operands(clusteringLayout);
    this.gradients = new ParameterSet(layout, gradients, 'f32');
    this.clusteringGradients = new ParameterSet(clusteringLayout, gradients, 'f32');
  }

  /** Enqueues: the first weights. */
  initialize(seed: number): void {
    initialize(this.student, seed, 0);
    initialize(this.clusteringWeights, seed, this.layout.parameters.length);
    ops.copy({ x: this.student.flat, y: this.studentEma.flat });
    this.refreshCopies();
  }

  /** Enqueues: bf16 operands from the f32 weights. */
  refreshCopies(): void {
    const pairs = [
      [this.student, this.studentBf16],
      [this.teacherMaster, this.teacherBf16],
      [this.clusteringWeights, this.clusteringBf16],
    ] as const;
    for (const [master, bf16] of pairs) if (bf16) ops.cast({ x: master.flat, y: bf16.flat });
  }
}
