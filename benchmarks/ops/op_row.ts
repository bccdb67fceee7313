/** What is reported of one op at one shape: its time, the machine's limit that binds it, PyTorch's times over ours. */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import type { Peaks } from '../harness/peaks.js';
import { ratio, type Spread, spread } from '../harness/spread.js';
import type { OpTimes } from './measure.js';
import type { OpCase } from './op_case.js';

export interface OpRow {
  readonly op: string;
  readonly shape: string;
  readonly dtype: ComputeDtype;
  /** The same work in benchmarks/baselines/ops.py. */
  readonly torch: string | undefined;
  /** Which of the machine's peaks allows less here. */
  readonly bound: 'compute' | 'memory';
  readonly flops: number;
  readonly bytes: number;
  /** Seconds a call. */
  readonly time: Spread;
  /** Operations or bytes a second, and what share of the machine's peak that is. */
  readonly rate: number;
  readonly share: number;
  /** PyTorch's time over ours, by its form: "eager", "compile", on a GPU "compile flash" and the like. */
  readonly faster: Readonly<Record<string, Spread>>;
  readonly failures: readonly string[];
  /** What kernels keep for partial sums after this op: the most that any so far has needed. */
  readonly scratchBytes: number;
  /** PyTorch's peak in a call beyond its inputs, by form; on a GPU. */
  readonly torchScratchBytes: Readonly<Record<string, number>>;
}

export function opRow(peaks: Peaks, opCase: OpCase, measured: OpTimes): OpRow {
  const { op, shape, dtype, torch, flops, bytes } = opCase;
  const { ours, baselines, failures, scratchBytes } = measured;
  const time = spread(ours);
  const [computing, moving] = [flops / peaks.gemm[dtype], bytes / peaks.copy];
  const bound = computing > moving ? 'compute' : 'memory';
  return {
    op,
    shape,
    dtype,
    torch,
    bound,
    flops,
    bytes,
    time,
    rate: (bound === 'compute' ? flops : bytes) / time.median,
    share: Math.max(computing, moving) / time.median,
    faster: Object.fromEntries(baselines.map(({ name, seconds }) => [name, ratio(seconds, ours)])),
    failures,
    scratchBytes,
    torchScratchBytes: Object.fromEntries(
      baselines.flatMap(({ name, scratchBytes: scratch }) =>
        scratch === undefined ? [] : [[name, scratch]],
      ),
    ),
  };
}

/** PyTorch's best form of a mode, eager or compile: the one that is the least slower than ours. */
export function bestForm({ faster }: Pick<OpRow, 'faster'>, mode: string): Spread | undefined {
  const forms = Object.entries(faster).filter(([name]) => name.startsWith(mode));
  return forms.map(([, times]) => times).sort((a, b) => a.median - b.median)[0];
}
