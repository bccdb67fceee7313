/** Every op at the shapes of a training step, beside what the machine can do and, in turn, beside PyTorch. */

import { isCapiError } from '../../lib/native/errors.js';
import { packageRoot } from '../../lib/native/package_root.js';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { Child } from '../harness/child.js';
import type { Session } from '../harness/session.js';
import type { Settings } from '../harness/settings.js';
import { digits, flopRate, percent, range, Table, times } from '../harness/table.js';
import type { SizeName } from '../step/sizes.js';
import { attentionCases } from './attention.js';
import { clusteringCases, referenceProblem } from './clustering.js';
import { gemmCases } from './gemm.js';
import { measureOp, type OpBaseline } from './measure.js';
import { normCases } from './norm.js';
import type { OpCase } from './op_case.js';
import { bestForm, opRow } from './op_row.js';
import { optimCases } from './optim.js';
import { patchesCases } from './patches.js';
import { shapesOf } from './shapes.js';

export async function benchmarkOps(session: Session): Promise<void> {
  session.print("\nOps. `faster`: PyTorch's time over ours, round by round.");
  const table = opsTable(session);
  const cases = allCases(session.settings).filter(({ op, shape, dtype }) =>
    session.wanted(`ops ${op} ${shape} ${dtype}`),
  );
  for (const dtype of ['f32', 'bf16'] as const) {
    const own = cases.filter((opCase) => opCase.dtype === dtype);
    if (own.length === 0) continue;
    const baselines = await startBaselines(session, dtype);
    try {
      for (const opCase of own) await tryCase(session, table, opCase, baselines);
    } finally {
      for (const { child } of baselines) child[Symbol.dispose]();
    }
  }
}

/** On a GPU ViT-L in bf16; f32, which is there to check it with, only where masters and moments are f32 anyway. */
function allCases({ quick, backend }: Settings): OpCase[] {
  const onCpu = backend === 'cpu';
  const full: readonly SizeName[] = onCpu ? ['vit_s', 'tiny'] : ['vit_l'];
  const sizes: readonly SizeName[] = quick ? ['trial'] : full;
  const dtypes: readonly ComputeDtype[] = onCpu ? ['f32', 'bf16'] : ['bf16'];
  const models = sizes.map(shapesOf);
  const cases = [
    // First, since scratch memory only grows: then it is that of Sinkhorn-Knopp.
    ...clusteringCases(models, onCpu && !quick ? [referenceProblem] : [], dtypes),
    ...models.flatMap((shapes) => gemmCases(shapes, dtypes)),
    ...models.flatMap((shapes) => attentionCases(shapes, dtypes)),
    ...models.flatMap((shapes) => normCases(shapes, dtypes)),
    ...models.flatMap((shapes) => patchesCases(shapes, dtypes)),
    ...sizes.flatMap(optimCases),
  ];
  return onCpu ? cases : cases.filter(({ onHost }) => !onHost);
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
  const { torch, threads, quick, backend } = session.settings;
  if (torch === undefined) return [];
  const started: OpBaseline[] = [];
  for (const mode of quick ? (['eager'] as const) : (['eager', 'compile'] as const)) {
    const script = `${packageRoot()}/benchmarks/baselines/ops.py`;
    const type = { f32: 'float32', bf16: 'bfloat16' }[dtype];
    const args = [
      script,
      '--serve',
      '--mode',
      mode,
      '--dtype',
      type,
      '--threads',
      String(threads),
      '--device',
      backend,
    ];
    try {
      const { child } = await Child.start(torch, args);
      started.push({ name: mode, child, compiled: mode === 'compile' });
    } catch (error) {
      const failure = `PyTorch ${mode} ${dtype}: ${error instanceof Error ? error.message : error}`;
      session.print(failure);
      session.record('ops', { failure });
    }
  }
  return started;
}

/** A case that needs more memory than there is does not end the run; whatever else goes wrong does. */
async function tryCase(...args: Parameters<typeof benchmarkCase>): Promise<void> {
  const [session, , { op, shape, dtype }] = args;
  try {
    await benchmarkCase(...args);
  } catch (error) {
    if (!isCapiError(error) || error.code !== 'ERR_CAPI_OUT_OF_MEMORY') throw error;
    session.print(`${op} ${shape} ${dtype}: not measured: ${error.message}`);
    session.record('ops', { op, shape, dtype, failure: error.message });
    process.exitCode = 1;
  }
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
  const row = opRow(session.peaks, opCase, measured);
  session.ops.push(row);
  session.record('ops', row);
  table.row([
    row.op,
    row.shape,
    row.dtype,
    range(row.time, 1e3),
    row.bound === 'compute' ? flopRate(row.rate) : `${digits(row.rate / 1e9)} GB/s`,
    `${percent(row.share)} of ${row.bound === 'compute' ? 'GEMM' : 'copy'}`,
    times(bestForm(row, 'eager')),
    times(bestForm(row, 'compile')),
  ]);
  for (const failure of measured.failures) session.print(`  ${failure}`);
}
