/** Where and of what a measurement is, for the head of a result file. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { addon } from '../../lib/native/addon.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { versions } from '../../lib/native/versions.js';

export interface MachineInfo {
  readonly date: string;
  readonly commit: string;
  /** Tracked files differ from the commit. */
  readonly dirty: boolean;
  readonly device: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly isa: string;
    readonly threads: number;
  };
  readonly versions: Readonly<Record<string, string>>;
}

/** @param python the interpreter of the baselines, whose torch version is then named */
export function machineInfo(python: string | undefined): MachineInfo {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    ...sourceCommit(),
    device: {
      cpu: processors[0]?.model.trim() ?? 'unknown',
      cores: processors.length,
      memoryBytes: totalmem(),
      isa: addon.cpuIsa(),
      threads: addon.threads(),
    },
    versions: { ...versions(), ...(python ? { torch: torchVersion(python) } : {}) },
  };
}

/** A bundle has no git: CAPI_COMMIT says what it was made of, "<commit>" or "<commit> and changes". */
function sourceCommit(): Pick<MachineInfo, 'commit' | 'dirty'> {
  const told = process.env.CAPI_COMMIT;
  if (told !== undefined) return { commit: told.split(' ')[0] ?? '', dirty: told.includes(' ') };
  const changes = git('status', '--porcelain', '--untracked-files=no');
  return { commit: git('rev-parse', 'HEAD'), dirty: changes !== '' };
}

function git(...args: string[]): string {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    return execFileSync('git', args, { cwd: packageRoot(), encoding: 'utf8', stdio: [...stdio] }).trim();
  } catch {
    return ''; // not a checkout
  }
}

function torchVersion(python: string): string {
  return execFileSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' }).trim();
}
