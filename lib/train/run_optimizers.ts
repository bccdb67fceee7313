/** The optimizers of the student and of the clustering head, and the schedules that they and the EMA follow. */
import type { Config } from '../config/schema.js';
import { AdamW, studentMultipliers } from '../optim/adamw.js';
import { type Schedule, scheduleFromConfig } from '../optim/schedule.js';
import type { Arena } from '../tensor/arena.js';
import type { RunParameters } from './run_parameters.js';

export interface RunSchedules {
  readonly learningRate: Schedule;
  readonly momentum: Schedule;
  readonly clusteringLearningRate: Schedule;
}

export function runSchedules({ optim, capi }: Config): RunSchedules {
  const total = optim.total_iters;
  return {
    learningRate: scheduleFromConfig(optim.lr_schedule, total),
    momentum: scheduleFromConfig(optim.momentum_schedule, total),
    clusteringLearningRate: scheduleFromConfig(capi.clustering_optimizer.lr_schedule, total),
  };
}

/** Updates the student, its EMA, and the operands of both; a frozen teacher's stay as they are. */
export function studentOptimizer({ optim }: Config, parameters: RunParameters, arena: Arena): AdamW {
  const { student, studentEma, teacherMaster, studentBf16, teacherBf16, gradients } = parameters;
  const [beta1, beta2] = optim.optimizer_kwargs.betas;
  return new AdamW(
    arena,
    {
      master: student,
      gradients,
      bf16: studentBf16,
      ema: studentEma,
      emaBf16: teacherMaster === studentEma ? teacherBf16 : undefined,
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
}

export function clusteringOptimizer({ capi }: Config, parameters: RunParameters, arena: Arena): AdamW {
  const { clusteringWeights, clusteringGradients, clusteringBf16 } = parameters;
  const { betas, eps, weight_decay: weightDecay } = capi.clustering_optimizer.kwargs;
  return new AdamW(
    arena,
    { master: clusteringWeights, gradients: clusteringGradients, bf16: clusteringBf16 },
    {
      beta1: betas[0],
      beta2: betas[1],
      eps,
      weightDecay,
      multipliers: () => ({ learningRate: 1, weightDecay: 1 }),
    },
  );
}
