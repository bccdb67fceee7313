/**
 * Whole training steps, ours and PyTorch's in turn, each in a process of its own with the same number of threads: images a
 * second, share of the GEMM peak, memory.
 */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import type { Session } from '../harness/session.js';
import { rates, ratio, type Spread } from '../harness/spread.js';
import { mebibytes, percent, range, Table, times } from '../harness/table.js';
import { takeTurns } from '../harness/turns.js';
import { Implementation, type StepCase, type StepMemory } from './implementations.js';
import { type SizeName, sizeTitles } from './sizes.js';
import { reportStages } from './stages.js';

/** A line of the table and of the result file. */
interface StepRow {
  readonly size: SizeName;
  readonly dtype: ComputeDtype;
  readonly implementation: string;
  readonly imagesPerSecond: Spread;
  readonly seconds: readonly number[];
  /** Of ours: the model's arithmetic over what the GEMM peak makes in the same time. */
  readonly shareOfGemmPeak?: number | undefined;
  readonly memory: StepMemory;
  /** Of all threads: what is left to compare on a busy machine. */
  readonly processorSecondsPerStep: number;
  /** Of PyTorch's: its time over ours. */
  readonly speedUp?: Spread | undefined;
  /** Of PyTorch's: our peak over its. */
  readonly memoryRatio?: number | undefined;
}

const title =
  "\nTraining steps. `faster`: PyTorch's time over ours, round by round. `memory`: growth of the process; ours over PyTorch's.";

export async function benchmarkSteps(session: Session): Promise<void> {
  session.print(title);
  const table = stepTable(session);
  const sizes: readonly SizeName[] = session.settings.quick ? ['trial'] : ['tiny', 'vit_s'];
  for (const size of sizes) {
    for (const dtype of ['f32', 'bf16'] as const) {
      if (!session.wanted(`step ${size} ${sizeTitles[size]} ${dtype}`)) continue;
      await benchmarkCase(session, table, { size, dtype, threads: session.settings.threads });
    }
  }
}

function stepTable(session: Session): Table {
  return new Table(
    [
      { title: 'size', width: 8 },
      { title: 'dtype', width: 5 },
      { title: 'implementation', width: 38 },
      { title: 'images/s', width: 20, align: 'right' },
      { title: 'of peak', width: 7, align: 'right' },
      { title: 'faster', width: 18, align: 'right' },
      { title: 'memory', width: 9, align: 'right' },
      { title: 'ratio', width: 6, align: 'right' },
    ],
    (line) => session.print(line),
  );
}

async function benchmarkCase(session: Session, table: Table, stepCase: StepCase): Promise<void> {
  const { torch, quick } = session.settings;
  const ours = await Implementation.ours(stepCase);
  const others: Implementation[] = [];
  try {
    if (torch !== undefined) others.push(...(await startBaselines(session, torch, stepCase)));
    const pace = quick ? { rounds: 2, budgetSeconds: 10 } : { rounds: 12, budgetSeconds: 120 };
    const [oursSeconds = [], ...otherSeconds] = await takeTurns([ours, ...others], pace);
    report(session, table, ourRow(session, stepCase, ours, oursSeconds));
    const rows = others.map((other, i) =>
      torchRow(stepCase, ours, oursSeconds, other, otherSeconds[i] ?? []),
    );
    for (const row of rows) report(session, table, row);
    if (rows.length > 0) summarize(session, stepCase, rows);
    await reportStages(session, stepCase, ours);
  } finally {
    for (const implementation of [ours, ...others]) implementation[Symbol.dispose]();
  }
}

/**
 * Eager and compiled; with the system's allocator too, which is slower and whose memory is the fairer line; in bf16 also f32,
 * since without AVX-512 PyTorch's bf16 is the slower one. One that cannot start is left out and named.
 */
async function startBaselines(
  session: Session,
  python: string,
  stepCase: StepCase,
): Promise<Implementation[]> {
  const eager = { mode: 'eager', allocator: 'tuned' } as const;
  const compiled = { mode: 'compile', allocator: 'tuned' } as const;
  const systemAllocator = { mode: 'eager', allocator: 'default' } as const;
  const variants = session.settings.quick
    ? [{ ...stepCase, ...eager }]
    : [
        { ...stepCase, ...eager },
        { ...stepCase, ...compiled },
        { ...stepCase, ...systemAllocator },
        ...(stepCase.dtype === 'bf16' ? [{ ...stepCase, ...compiled, dtype: 'f32' as const }] : []),
      ];
  const started: Implementation[] = [];
  for (const variant of variants) {
    try {
      started.push(await Implementation.torch(python, variant, variant));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      session.print(`PyTorch ${variant.mode} ${variant.dtype} left out: ${reason}`);
      session.record('step', { ...stepCase, implementation: `PyTorch ${variant.mode}`, failure: reason });
    }
  }
  return started;
}

function ourRow(
  session: Session,
  { size, dtype }: StepCase,
  ours: Implementation,
  seconds: readonly number[],
): StepRow {
  const imagesPerSecond = rates(seconds, ours.images);
  const flops = ours.flopsPerImage.total * imagesPerSecond.median;
  return {
    size,
    dtype,
    implementation: ours.name,
    imagesPerSecond,
    seconds,
    shareOfGemmPeak: flops / session.peaks.gemm[dtype],
    memory: ours.memory,
    processorSecondsPerStep: ours.processorSeconds,
  };
}

function torchRow(
  { size, dtype }: StepCase,
  ours: Implementation,
  oursSeconds: readonly number[],
  other: Implementation,
  seconds: readonly number[],
): StepRow {
  return {
    size,
    dtype,
    implementation: other.name,
    imagesPerSecond: rates(seconds, ours.images),
    seconds,
    memory: other.memory,
    processorSecondsPerStep: other.processorSeconds,
    speedUp: ratio(seconds, oursSeconds),
    memoryRatio: ours.memory.peakBytes / other.memory.peakBytes,
  };
}

/** The two numbers that count: against the fastest of the others, and against the smallest. */
function summarize(session: Session, { size, dtype }: StepCase, others: readonly StepRow[]): void {
  const byRate = others.toSorted((a, b) => b.imagesPerSecond.median - a.imagesPerSecond.median);
  const bySize = others.toSorted((a, b) => a.memory.peakBytes - b.memory.peakBytes);
  const [fastest, smallest] = [byRate[0], bySize[0]];
  if (!fastest || !smallest) return;
  const { implementation: fastestBaseline, speedUp } = fastest;
  const { implementation: smallestBaseline, memoryRatio = Number.NaN } = smallest;
  session.print(
    `  ${times(speedUp)} as fast as the fastest (${fastestBaseline}), ` +
      `${memoryRatio.toFixed(2)} of the memory of the smallest (${smallestBaseline})`,
  );
  session.record('step', { size, dtype, fastestBaseline, speedUp, smallestBaseline, memoryRatio });
}

function report(session: Session, table: Table, row: StepRow): void {
  const { size, dtype, implementation, memory, memoryRatio } = row;
  table.row([
    sizeTitles[size],
    dtype,
    implementation,
    range(row.imagesPerSecond),
    percent(row.shareOfGemmPeak),
    times(row.speedUp),
    mebibytes(memory.peakBytes),
    memoryRatio === undefined ? '' : memoryRatio.toFixed(2),
  ]);
  session.record('step', row);
}
