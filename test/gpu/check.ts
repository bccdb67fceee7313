/**
 * `./gpu-check` of the bundle: what a GPU gets right. The launcher has chosen the addon. A stage that fails, or crashes, is named
 * and the later ones still run; without a GPU that can be used there is nothing to run.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CudaReport } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { CheckReport, type StageResult } from './report.js';
import { runStages } from './stages.js';

const usage = 'Usage: ./gpu-check [--only <text>] [--json <file>] [--golden <folder>] [--interpreter]';

async function main(): Promise<boolean> {
  const { only, json, golden } = options();
  const forTests = { CAPI_TEST_BACKEND: 'cuda', CAPI_ONLY: only, CAPI_GOLDEN: golden };
  Object.assign(process.env, forTests, { NO_COLOR: '1' });

  const { cuda, cpu, node } = doctor();
  const interpreter = cuda.interpreted;
  const report = new CheckReport(
    {
      date: new Date().toISOString(),
      commit: JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).commit,
      device: interpreter ? 'interpreter (no GPU)' : (cuda.devices[0]?.name ?? 'no GPU'),
      interpreter,
      only,
      cpu,
      node,
      cuda,
    },
    json,
  );
  report.add(machineStage(cuda));
  // Without cuBLASLt everything but products can be checked.
  const usable = cuda.problem === undefined || (cuda.devices.length > 0 && cuda.cublaslt === undefined);
  if (usable) await runStages({ interpreter, only, golden }, (stage) => report.add(stage));
  report.print();
  return report.passed;
}

function options() {
  return parseArgs({
    options: {
      interpreter: { type: 'boolean' }, // read by the launcher
      only: { type: 'string', default: '' },
      json: { type: 'string', default: 'gpu-check.json' },
      golden: { type: 'string', default: process.env.CAPI_GOLDEN ?? '' },
    },
  }).values;
}

/** What `capi doctor` prints, which it does in processes of its own: this one never touches the GPU. */
function doctor(): { readonly cuda: CudaReport; readonly cpu: string; readonly node: string } {
  const command = [join(packageRoot(), 'js', 'capi.js'), 'doctor'];
  const timeout = 120_000; // a driver that hangs must not hang the check
  execFileSync(process.execPath, command, { stdio: 'inherit', timeout });
  return JSON.parse(execFileSync(process.execPath, [...command, '--json'], { encoding: 'utf8', timeout }));
}

function machineStage({ problem }: CudaReport): StageResult {
  const test = { file: 'doctor', name: 'CUDA can be used', seconds: 0 };
  return problem === undefined
    ? { name: 'doctor', state: 'passed', seconds: 0, tests: [{ ...test, passed: true }] }
    : { name: 'doctor', state: 'failed', seconds: 0, tests: [{ ...test, passed: false, message: problem }] };
}

try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (error) {
  const { code = '', message } = error as NodeJS.ErrnoException;
  console.error(`gpu-check: ${message}${code.startsWith('ERR_PARSE_ARGS') ? `\n${usage}` : ''}`);
  process.exitCode = 1;
}
