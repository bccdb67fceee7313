/**
 * What this machine can do, measured in the same run as everything else: the rates that shares are shares of. The best of a
 * few rather than the median, since nothing slows a limit down but others.
 */
import { addon } from '../../lib/native/addon.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { Tensor } from '../../lib/tensor/tensor.js';

export interface Peaks {
  /** Operations a second of a large GEMM. */
  readonly gemm: Readonly<Record<ComputeDtype, number>>;
  /** Bytes a second of a copy beyond the caches, read and written. */
  readonly copy: number;
}

export async function measurePeaks({ quick }: { readonly quick: boolean }): Promise<Peaks> {
  const side = quick ? 256 : 2048;
  const copyBytes = quick ? 1 << 20 : 1 << 28;
  return {
    gemm: { f32: await gemmPeak(side, 'f32'), bf16: await gemmPeak(side, 'bf16') },
    copy: await copyPeak(copyBytes),
  };
}

const tries = 8;

async function gemmPeak(side: number, dtype: ComputeDtype): Promise<number> {
  using a = Tensor.zeros([side, side], dtype);
  using b = Tensor.zeros([side, side], dtype);
  using c = Tensor.zeros([side, side], dtype);
  ops.fillRandom({ x: a, distribution: 'normal', scale: 1, seed: 0, stream: 0 });
  ops.fillRandom({ x: b, distribution: 'normal', scale: 1, seed: 0, stream: 1 });
  return (2 * side ** 3) / (await fastest(() => ops.gemm({ a, b, transposeB: true, c })));
}

async function copyPeak(bytes: number): Promise<number> {
  using x = Tensor.zeros([bytes / 4096, 1024], 'f32');
  using y = Tensor.zeros([bytes / 4096, 1024], 'f32');
  ops.fillRandom({ x, distribution: 'uniform', scale: 1, seed: 0, stream: 0 });
  return (2 * bytes) / (await fastest(() => ops.copy({ x, y })));
}

async function fastest(run: () => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= tries; i++) {
    await addon.synchronize();
    const begin = performance.now();
    run();
    await addon.synchronize();
    if (i > 0) best = Math.min(best, (performance.now() - begin) / 1e3); // the first one warms up
  }
  return best;
}
