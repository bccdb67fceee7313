/** The update: one pass over the flat arenas of weights, gradients, moments and EMA. */

import { ops } from '../../lib/tensor/ops.js';
import { planTraining } from '../../lib/train/plan.js';
import { type SizeName, sizeConfig, sizeTitles } from '../step/sizes.js';
import type { OpCase } from './op_case.js';

export function optimCases(size: SizeName): OpCase[] {
  const { encoder, predictor, studentHead } = planTraining(sizeConfig(size, 'bf16')).parameters;
  const n = encoder + predictor + studentHead;
  return [adamwEma(sizeTitles[size], n), cast(sizeTitles[size], n)];
}

function adamwEma(title: string, n: number): OpCase {
  return {
    op: 'adamw_ema',
    shape: `${title} with bf16 copies  ${n}`,
    dtype: 'f32',
    flops: 0,
    bytes: 40 * n, // reads p, g, m, v, ema; writes p, m, v, ema and two bf16 copies
    torch: `adamw_ema:${n}`,
    fusible: true,
    make: (inputs) => {
      const vector = (scale: number) => inputs.random([1, n], 'f32', scale);
      const state = {
        param: vector(1),
        grad: vector(1),
        m: vector(1),
        v: inputs.empty([1, n], 'f32'),
        ema: vector(1),
        paramBf16: inputs.empty([1, n], 'bf16'),
        emaBf16: inputs.empty([1, n], 'bf16'),
        segments: inputs.values([0, n], [1, 2], 'i32'),
        multipliers: inputs.values([1, 1], [1, 2], 'f32'),
        scalars: inputs.values([1e-3, 0.1, 0.999, 0], [1, 4], 'f32'),
        step: inputs.empty([1, 1], 'i32'),
      };
      return { run: () => ops.adamwEma({ ...state, beta1: 0.9, beta2: 0.95, eps: 1e-8 }) };
    },
  };
}

function cast(title: string, n: number): OpCase {
  return {
    op: 'cast',
    shape: `${title} f32 → bf16  ${n}`,
    dtype: 'f32',
    flops: 0,
    bytes: 6 * n,
    torch: `cast:${n}`,
    make: (inputs) => {
      const x = inputs.random([1, n], 'f32');
      const y = inputs.empty([1, n], 'bf16');
      return { run: () => ops.cast({ x, y }) };
    },
  };
}
