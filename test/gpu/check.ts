/**
 * `./gpu-check` of the bundle: what a GPU gets right, stage by stage. The launcher has chosen the addon. A stage that fails, or
 * crashes, is named and the later ones still run; without a GPU that can be used there is nothing to run.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CudaReport } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { CheckReport, printFile, type StageResult, type TestResult } from './report.js';
import { findSanitizer, sanitize, sanitizedOps, tools } from './sanitizer.js';
import { runTestFile } from './test_process.js';

const scripts = join(packageRoot(), 'js');

interface Options {
  readonly interpreter: boolean;
  readonly only: string;
  readonly json: string;
  readonly golden: string | undefined;
}

/** Part of a stage: the tests of one file. */
interface Part {
  readonly name: string;
  run(): Promise<readonly TestResult[]>;
}

async function main(): Promise<boolean> {
  const options = readOptions();
  Object.assign(process.env, { CAPI_TEST_BACKEND: 'cuda', CAPI_ONLY: options.only, NO_COLOR: '1' });
  if (options.golden !== undefined) process.env.CAPI_GOLDEN = options.golden;

  const capi = join(scripts, 'capi.js');
  execFileSync(process.execPath, [capi, 'doctor'], { stdio: 'inherit' });
  const doctor = JSON.parse(execFileSync(process.execPath, [capi, 'doctor', '--json'], { encoding: 'utf8' }));
  const cuda: CudaReport = doctor.cuda;
  const report = new CheckReport(
    {
      date: new Date().toISOString(),
      commit: JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).commit,
      device: options.interpreter ? 'interpreter (no GPU)' : (cuda.devices[0]?.name ?? 'no GPU'),
      interpreter: options.interpreter,
      only: options.only,
      cpu: doctor.cpu,
      node: doctor.node,
      cuda,
    },
    options.json,
  );
  const machine = { file: 'doctor', name: 'CUDA can be used', seconds: 0 };
  const found =
    cuda.problem === undefined
      ? { ...machine, passed: true }
      : { ...machine, passed: false, message: cuda.problem };
  report.add(stageOf('doctor', [found], 0));
  // Without cuBLASLt everything but products can be checked.
  const usable = cuda.problem === undefined || (cuda.devices.length > 0 && cuda.cublaslt === undefined);
  if (usable) await runStages(options, report);
  report.print();
  return report.passed;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      interpreter: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      json: { type: 'string', default: 'gpu-check.json' },
      golden: { type: 'string' },
    },
  });
  return { ...values, golden: values.golden };
}

async function runStages(options: Options, report: CheckReport): Promise<void> {
  for (const stage of ['ops', 'graph', 'trajectory', 'demo'])
    report.add(await runStage(stage, testFiles(stage)));
  report.add(
    options.golden === undefined
      ? notRun('conformance', 'no --golden <folder>')
      : await runStage('conformance', testFiles('conformance')),
  );
  const sanitizer = options.interpreter ? undefined : findSanitizer(process.env);
  report.add(
    sanitizer === undefined
      ? notRun(
          'sanitizer',
          options.interpreter ? 'the interpreter checks every access itself' : 'no compute-sanitizer',
        )
      : await runStage('sanitizer', sanitizedFiles(sanitizer, options.only)),
  );
}

async function runStage(name: string, parts: readonly Part[]): Promise<StageResult> {
  const began = performance.now();
  console.log(name);
  const tests: TestResult[] = [];
  for (const part of parts) {
    const start = performance.now();
    const results = await part.run();
    if (results.length > 0) printFile(part.name, results, (performance.now() - start) / 1000);
    tests.push(...results);
  }
  return stageOf(name, tests, (performance.now() - began) / 1000);
}

function stageOf(name: string, tests: readonly TestResult[], seconds: number): StageResult {
  if (tests.length === 0) return { ...notRun(name, `no test holds "${process.env.CAPI_ONLY}"`), seconds };
  return { name, state: tests.every(({ passed }) => passed) ? 'passed' : 'failed', seconds, tests };
}

function notRun(name: string, reason: string): StageResult {
  return { name, state: 'not run', reason, seconds: 0, tests: [] };
}

function testFiles(stage: string): Part[] {
  const folder = join(scripts, 'tests', stage);
  return readdirSync(folder)
    .sort()
    .map((file) => ({ name: basename(file, '.js'), run: () => runTestFile(join(folder, file)) }));
}

function sanitizedFiles(sanitizer: string, only: string): Part[] {
  return tools
    .flatMap((tool) => sanitizedOps.map((op) => ({ tool, op, name: `${tool} ${op}` })))
    .filter(({ name }) => name.includes(only))
    .map(({ tool, op, name }) => ({
      name,
      run: async () => [sanitize(sanitizer, tool, join(scripts, 'tests', 'ops', `${op}.js`))],
    }));
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  console.error(`gpu-check: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
