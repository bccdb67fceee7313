/**
 * npm run bench -- ops|step|data … [--json file] [--torch python] [--threads n] [--quick] [--only text] [--flat]
 *
 * Measures, prints tables and writes JSON lines. docs/benchmarks.md says how to measure and how to read the result.
 */
import { parseArgs } from 'node:util';
import { addon } from '../lib/native/addon.js';
import { benchmarkLoading } from './data/loading.js';
import { Session } from './harness/session.js';
import { digits } from './harness/table.js';
import { benchmarkOps } from './ops/ops.js';
import { measureFlatness } from './step/flatness.js';
import { benchmarkSteps } from './step/steps.js';
import { serveSteps } from './step/worker.js';

const suites = { ops: benchmarkOps, step: benchmarkSteps, data: benchmarkLoading };

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
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
  if (values.threads !== undefined) addon.setThreads(Number(values.threads));
  const session = await Session.open({
    torch: values.torch,
    threads: addon.threads(),
    quick: values.quick,
    only: values.only.split(/\s+/).filter(Boolean),
    json: values.json,
  });
  printHead(session);
  for (const name of names) {
    await suites[name](session);
    if (name === 'step' && values.flat) await measureFlatness(session);
  }
  if (session.jsonPath !== undefined) session.print(`\nwritten to ${session.jsonPath}`);
}

function printHead({ machine, peaks, print }: Session): void {
  const { device, commit, dirty, date } = machine;
  const { cpu, isa, threads, cores } = device;
  print(
    `${cpu}, ${isa}, ${threads} threads of ${cores} cores; ${date.slice(0, 10)}, ${commit.slice(0, 9)}${dirty ? ' and changes' : ''}`,
  );
  print(
    `GEMM peak ${digits(peaks.gemm.f32 / 1e9)} GFLOP/s f32, ${digits(peaks.gemm.bf16 / 1e9)} bf16; ` +
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
