/** Every op at the shapes of a training step, beside what the machine can do and, in turn, beside PyTorch. */

import { packageRoot } from '../../lib/native/package_root.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { Child } from '../harness/child.js';
import type { Session } from '../harness/session.js';
import { ratio, type Spread, spread } from '../harness/spread.js';
import { digits, percent, range, Table, times } from '../harness/table.js';
import { attentionCases } from './attention.js';
import { clusteringCases, referenceProblem } from './clustering.js';
import { gemmCases } from './gemm.js';
import { measureOp, type OpBaseline, type OpTimes } from './measure.js';
import { normCases } from './norm.js';
import { dtypes, type OpCase } from './op_case.js';
import { optimCases } from './optim.js';
import { patchesCases } from './patches.js';
import { shapesOf } from './shapes.js';

export async function benchmarkOps(session: Session): Promise<void> {
  session.print("\nOps. `faster`: PyTorch's time over ours, round by round.");
  const table = opsTable(session);
  const cases = allCases(session.settings.quick).filter(({ op, shape, dtype }) =>
    session.wanted(`ops ${op} ${shape} ${dtype}`),
  );
  for (const dtype of dtypes) {
    const own = cases.filter((opCase) => opCase.dtype === dtype);
    if (own.length === 0) continue;
    const baselines = await startBaselines(session, dtype);
    try {
      for (const opCase of own) await benchmarkCase(session, table, opCase, baselines);
    } finally {
      for (const { child } of baselines) child[Symbol.dispose]();
    }
  }
}

function allCases(quick: boolean): OpCase[] {
  const sizes = quick ? (['trial'] as const) : (['vit_s', 'tiny'] as const);
  const models = sizes.map(shapesOf);
  return [
    ...models.flatMap(gemmCases),
    ...models.flatMap(attentionCases),
    ...clusteringCases(models, quick ? [] : [referenceProblem]),
    ...models.flatMap(normCases),
    ...models.flatMap(patchesCases),
    ...sizes.flatMap(optimCases),
  ];
}

function opsTable(session: Session): Table {
  return new Table(
    [
      { title: 'op', width: 13 },
      { title: 'shape', width: 62 },
      { title: 'dtype', width: 5 },
      { title: 'ms', width: 22, align: 'right' },
      { title: 'rate', width: 13, align: 'right' },
      { title: 'share', width: 11, align: 'right' },
      { title: 'faster than eager', width: 19, align: 'right' },
      { title: 'than compiled', width: 19, align: 'right' },
    ],
    (line) => session.print(line),
  );
}

async function startBaselines(session: Session, dtype: ComputeDtype): Promise<OpBaseline[]> {
  const { torch, threads, quick } = session.settings;
  if (torch === undefined) return [];
  const started: OpBaseline[] = [];
  for (const mode of quick ? (['eager'] as const) : (['eager', 'compile'] as const)) {
    const script = `${packageRoot()}/benchmarks/baselines/ops.py`;
    const type = { f32: 'float32', bf16: 'bfloat16' }[dtype];
    const args = [script, '--serve', '--mode', mode, '--dtype', type, '--threads', String(threads)];
    const { child } = await Child.start(torch, args);
    started.push({ name: mode, child, compiled: mode === 'compile' });
  }
  return started;
}

async function benchmarkCase(
  session: Session,
  table: Table,
  opCase: OpCase,
  baselines: readonly OpBaseline[],
): Promise<void> {
  const { torch, fusible } = opCase;
  const fit = baselines.filter(({ compiled }) => torch !== undefined && (fusible || !compiled));
  const measured = await measureOp(opCase, fit, session.settings);
  const row = opRow(session, opCase, measured);
  session.record('ops', row);
  const unit = row.bound === 'compute' ? 'GFLOP/s' : 'GB/s';
  table.row([
    row.op,
    row.shape,
    row.dtype,
    range(row.time, 1e3),
    `${digits(row.rate / 1e9)} ${unit}`,
    `${percent(row.share)} of ${row.bound === 'compute' ? 'GEMM' : 'copy'}`,
    times(row.faster.eager),
    times(row.faster.compile),
  ]);
  for (const failure of measured.failures) session.print(`  ${failure}`);
}

interface OpRow {
  readonly op: string;
  readonly shape: string;
  readonly dtype: ComputeDtype;
  readonly bound: 'compute' | 'memory';
  readonly flops: number;
  readonly bytes: number;
  /** Seconds a call. */
  readonly time: Spread;
  /** Operations or bytes a second, and what share of the machine's peak that is. */
  readonly rate: number;
  readonly share: number;
  /** PyTorch's time over ours, by its mode. */
  readonly faster: Readonly<Record<string, Spread>>;
  readonly failures: readonly string[];
}

function opRow({ peaks }: Session, opCase: OpCase, { ours, baselines, failures }: OpTimes): OpRow {
  const { op, shape, dtype, flops, bytes } = opCase;
  const time = spread(ours);
  const bound = flops > 0 ? 'compute' : 'memory';
  const rate = (flops > 0 ? flops : bytes) / time.median;
  const faster = Object.fromEntries(baselines.map(({ name, seconds }) => [name, ratio(seconds, ours)]));
  const share = rate / (flops > 0 ? peaks.gemm[dtype] : peaks.copy);
  return { op, shape, dtype, bound, flops, bytes, time, rate, share, faster, failures };
}
