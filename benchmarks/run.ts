/**
 * npm run bench -- ops|step|data … [--backend cpu|cuda] [--json file] [--torch python] [--threads n] [--quick] [--only text] [--flat]
 *
 * Measures, prints tables and writes JSON lines. docs/benchmarks.md says how to measure and how to read the result.
 */
import { parseArgs } from 'node:util';
import { addon } from '../lib/native/addon.js';
import { invalidArgument } from '../lib/native/errors.js';
import { benchmarkLoading } from './data/loading.js';
import { reportGoals } from './goals/report.js';
import { Session } from './harness/session.js';
import { digits, flopRate } from './harness/table.js';
import { benchmarkOps } from './ops/ops.js';
import { measureFlatness } from './step/flatness.js';
import { benchmarkSteps } from './step/steps.js';
import { serveSteps } from './step/worker.js';

const suites = { ops: benchmarkOps, step: benchmarkSteps, data: benchmarkLoading };

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      backend: { type: 'string', default: 'cpu' },
      json: { type: 'string' },
      torch: { type: 'string' },
      threads: { type: 'string' },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      flat: { type: 'boolean', default: false },
    },
  });
  const names = positionals as (keyof typeof suites)[];
  if (names.length === 0 || names.some((name) => !Object.hasOwn(suites, name))) {
    throw new Error(
      `Expected one or more of ${Object.keys(suites).join(', ')} but received "${names.join(' ')}"`,
    );
  }
  const { backend } = values;
  if (backend !== 'cpu' && backend !== 'cuda') throw invalidArgument('--backend', 'cpu or cuda', backend);
  if (backend === 'cuda' && names.includes('data')) {
    throw invalidArgument('--backend', 'cpu for data, which no GPU loads', backend);
  }
  if (values.threads !== undefined) addon.setThreads(Number(values.threads));
  const session = await Session.open({
    backend,
    torch: values.torch,
    threads: addon.threads(),
    quick: values.quick,
    only: values.only.split(/\s+/).filter(Boolean),
    json: values.json,
  });
  printHead(session);
  for (const name of names) {
    await attempt(session, name, () => suites[name](session));
    if (name === 'step' && values.flat) await measureFlatness(session);
  }
  if (backend === 'cuda') reportGoals(session);
  if (session.jsonPath !== undefined) session.print(`\nwritten to ${session.jsonPath}`);
}

/** A suite that fails leaves the others and the goals their chance: time on a GPU is scarce. */
async function attempt(session: Session, suite: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    console.error(`${suite}: ${failure}`);
    session.record(suite, { failure });
    process.exitCode = 1;
  }
}

function printHead({ machine, peaks, print }: Session): void {
  const { device, commit, dirty, date } = machine;
  const { cpu, isa, threads, cores, gpu } = device;
  if (gpu) {
    const { name, interpreted, capability, driver, cublaslt } = gpu;
    print(
      interpreted
        ? 'INTERPRETER: kernels run on the CPU, one thread after the other; no time below says anything'
        : `${name}, compute capability ${capability}, driver ${driver}, cuBLASLt ${cublaslt}`,
    );
  }
  print(
    `${cpu}, ${isa}, ${threads} threads of ${cores} cores; ${date.slice(0, 10)}, ${commit.slice(0, 9)}${dirty ? ' and changes' : ''}`,
  );
  print(
    `GEMM peak ${flopRate(peaks.gemm.f32)} f32, ${flopRate(peaks.gemm.bf16)} bf16; ` +
      `copy ${digits(peaks.copy / 1e9)} GB/s`,
  );
}

try {
  const [first, ...rest] = process.argv.slice(2);
  await (first === 'step-worker' ? serveSteps(rest) : main());
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
