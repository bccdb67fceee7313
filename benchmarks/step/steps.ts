/**
 * Whole training steps, ours and PyTorch's, each in a process of its own with the same number of threads: images a second, share
 * of the GEMM peak, memory.
 */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import type { Session } from '../harness/session.js';
import type { Settings } from '../harness/settings.js';
import { mebibytes, percent, range, Table, times } from '../harness/table.js';
import { Implementation, oursName, type StepCase, type TorchMode } from './implementations.js';
import { type Entry, measureAll, type Outcome } from './measure_steps.js';
import { type SizeName, sizeTitles } from './sizes.js';
import { reportStages } from './stages.js';
import { type MeasuredStep, ourRow, type StepRow, torchRow } from './step_row.js';

const title =
  "\nTraining steps. `faster`: PyTorch's time over ours, round by round. `memory`: growth of the process, on a GPU the most that " +
  "was allocated there; ours over PyTorch's.";

export async function benchmarkSteps(session: Session): Promise<void> {
  session.print(title);
  const table = stepTable(session);
  const { quick, threads, backend } = session.settings;
  const full: readonly SizeName[] = backend === 'cpu' ? ['tiny', 'vit_s'] : ['vit_l', 'vit_s_64'];
  const sizes: readonly SizeName[] = quick ? ['trial'] : full;
  const dtypes: readonly ComputeDtype[] = backend === 'cpu' ? ['f32', 'bf16'] : ['bf16'];
  for (const size of sizes) {
    for (const dtype of dtypes) {
      if (!session.wanted(`step ${size} ${sizeTitles[size]} ${dtype}`)) continue;
      await benchmarkCase(session, table, { size, dtype, threads, backend });
    }
  }
}

function stepTable(session: Session): Table {
  return new Table(
    [
      { title: 'size', width: 12 },
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
  const outcomes = await measureAll(entriesOf(session.settings, stepCase), session.settings);
  const main = outcomes.find(({ name }) => name === oursName(stepCase.backend, 'graph'))?.measured;
  const others: StepRow[] = [];
  for (const outcome of outcomes) {
    const row = rowOf(session, stepCase, outcome, main);
    if (!row) continue;
    report(session, table, row);
    if (!outcome.isOurs) others.push(row);
  }
  if (main && others.length > 0) summarize(session, stepCase, others);
  for (const { stages, measured } of outcomes) {
    if (stages && measured) reportStages(session, stepCase, measured.implementation, stages);
  }
}

function rowOf(
  session: Session,
  stepCase: StepCase,
  { name, isOurs, measured, failure }: Outcome,
  main: MeasuredStep | undefined,
): StepRow | undefined {
  if (measured)
    return isOurs ? ourRow(session.peaks, stepCase, measured) : torchRow(stepCase, measured, main);
  const { size, dtype } = stepCase;
  session.print(`${sizeTitles[size]} ${dtype}, ${name}: not measured: ${failure}`);
  session.record('step', { size, dtype, implementation: name, failure });
  if (isOurs) process.exitCode = 1;
  return undefined;
}

/** Ours first: as the trainer runs it and, on a GPU, op by op, whose stages are then timed. */
function entriesOf(settings: Settings, stepCase: StepCase): Entry[] {
  const { backend } = stepCase;
  const modes = backend === 'cpu' ? (['graph'] as const) : (['graph', 'eager'] as const);
  const ours = modes.map((mode, i) => ({
    name: oursName(backend, mode),
    isOurs: true,
    stages: i === modes.length - 1,
    start: () => Implementation.ours(stepCase, mode),
  }));
  return [...ours, ...torchEntries(settings, stepCase)];
}

/**
 * Eager and compiled. On a CPU with the system's allocator too, which is slower and whose memory is the fairer line, and in bf16
 * also f32, since without AVX-512 PyTorch's bf16 is the slower one. On a GPU also compiled with CUDA graphs.
 */
function torchEntries({ torch, quick }: Settings, stepCase: StepCase): Entry[] {
  if (torch === undefined) return [];
  const { dtype, backend } = stepCase;
  const variant = (mode: TorchMode, allocator: 'tuned' | 'default' = 'tuned', type = dtype): Entry => ({
    name: `PyTorch ${mode} ${type}${allocator === 'default' ? ', default allocator' : ''}`,
    isOurs: false,
    stages: false,
    start: () => Implementation.torch(torch, { ...stepCase, dtype: type }, { mode, allocator }),
  });
  if (quick) return [variant('eager')];
  const both = [variant('eager'), variant('compile')];
  if (backend === 'cuda') return [...both, variant('reduce-overhead')];
  const f32 = dtype === 'bf16' ? [variant('compile', 'tuned', 'f32')] : [];
  return [...both, variant('eager', 'default'), ...f32];
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
  session.steps.push(row);
  session.record('step', row);
}
