/**
 * What this machine can do, measured in the same run as everything else: the rates that shares are shares of. The best of a
 * few rather than the median, since nothing slows a limit down but others.
 */
import { addon, type Backend } from '../../lib/native/addon.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import type { Settings } from './settings.js';

export interface Peaks {
  /** Operations a second of a large GEMM. */
  readonly gemm: Readonly<Record<ComputeDtype, number>>;
  /** Bytes a second of a copy beyond the caches, read and written. */
  readonly copy: number;
}

interface Effort {
  readonly backend: Backend;
  readonly side: number;
  readonly copyBytes: number;
  /** In a row, so that the wait at the end does not count. */
  readonly calls: number;
}

const efforts = {
  cpu: { backend: 'cpu', side: 2048, copyBytes: 1 << 28, calls: 1 },
  cuda: { backend: 'cuda', side: 8192, copyBytes: 1 << 30, calls: 20 },
} as const;

export async function measurePeaks({ quick, backend }: Pick<Settings, 'quick' | 'backend'>): Promise<Peaks> {
  const effort: Effort = quick ? { backend, side: 256, copyBytes: 1 << 20, calls: 1 } : efforts[backend];
  return {
    gemm: { f32: await gemmPeak(effort, 'f32'), bf16: await gemmPeak(effort, 'bf16') },
    copy: await copyPeak(effort),
  };
}

const tries = 8;

async function gemmPeak({ backend, side, calls }: Effort, dtype: ComputeDtype): Promise<number> {
  using a = Tensor.zeros([side, side], dtype, backend);
  using b = Tensor.zeros([side, side], dtype, backend);
  using c = Tensor.zeros([side, side], dtype, backend);
  ops.fillRandom({ x: a, distribution: 'normal', scale: 1, seed: 0, stream: 0 });
  ops.fillRandom({ x: b, distribution: 'normal', scale: 1, seed: 0, stream: 1 });
  return (2 * side ** 3) / (await fastest(calls, () => ops.gemm({ a, b, transposeB: true, c })));
}

async function copyPeak({ backend, copyBytes: bytes, calls }: Effort): Promise<number> {
  using x = Tensor.zeros([bytes / 4096, 1024], 'f32', backend);
  using y = Tensor.zeros([bytes / 4096, 1024], 'f32', backend);
  ops.fillRandom({ x, distribution: 'uniform', scale: 1, seed: 0, stream: 0 });
  return (2 * bytes) / (await fastest(calls, () => ops.copy({ x, y })));
}

/** Seconds of a call. */
async function fastest(calls: number, run: () => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= tries; i++) {
    await addon.synchronize();
    const begin = performance.now();
    for (let call = 0; call < calls; call++) run();
    await addon.synchronize();
    if (i > 0) best = Math.min(best, (performance.now() - begin) / 1e3 / calls); // the first one warms up
  }
  return best;
}
