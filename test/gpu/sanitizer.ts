/** compute-sanitizer of a CUDA toolkit over the tests of some ops: wrong accesses, and races in shared memory. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import type { TestResult } from './report.js';

/** Each makes a test much slower, so: the ops with the most shared memory, and the most indices. */
export const sanitizedOps = ['attention', 'residual', 'rms_norm_backward', 'sinkhorn_knopp'] as const;
export const tools = ['memcheck', 'racecheck'] as const;

const mostSeconds = 900;

/** Its path: on PATH, in CUDA_HOME or in /usr/local/cuda. */
export function findSanitizer({ PATH = '', CUDA_HOME }: NodeJS.ProcessEnv): string | undefined {
  const homes = [CUDA_HOME, '/usr/local/cuda'].filter((home) => home !== undefined);
  const folders = [...PATH.split(delimiter), ...homes.map((home) => join(home, 'bin'))];
  return folders.map((folder) => join(folder, 'compute-sanitizer')).find(isExecutable);
}

export function sanitize(sanitizer: string, tool: (typeof tools)[number], file: string): TestResult {
  const began = performance.now();
  const { status, signal, stdout, stderr, error } = spawnSync(
    sanitizer,
    ['--tool', tool, '--error-exitcode', '1', process.execPath, file],
    // All tests of the file, whichever of its names --only chose it by.
    {
      encoding: 'utf8',
      timeout: mostSeconds * 1000,
      env: { ...process.env, CAPI_ONLY: '' },
      maxBuffer: 2 ** 28,
    },
  );
  const seconds = (performance.now() - began) / 1000;
  const result = { file: basename(file, '.js'), name: `${tool} ${basename(file)}`, seconds };
  if (status === 0) return { ...result, passed: true };
  const how = error?.message ?? (signal === null ? `exit code ${status}` : signal);
  return {
    ...result,
    passed: false,
    message: `${tool} ended with ${how}.\n${`${stderr}${stdout}`.slice(-4000)}`,
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
