/** Where and of what a measurement is, for the head of a result file. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { addon, type Backend } from '../../lib/native/addon.js';
import { CapiError } from '../../lib/native/errors.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { versions } from '../../lib/native/versions.js';
import type { Settings } from './settings.js';

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
    /** Where the ops run, unless that is the CPU. */
    readonly gpu?: Gpu;
  };
  readonly versions: Readonly<Record<string, string>>;
}

export interface Gpu {
  readonly name: string;
  /** Kernels run on the CPU: nothing measured means anything. */
  readonly interpreted: boolean;
  readonly capability: string;
  readonly multiprocessors: number;
  readonly memoryBytes: number;
  /** NVIDIA's driver, "580.65.06", and the CUDA that it and this build know: 13000 is 13.0. */
  readonly driver: string;
  readonly driverCuda: number;
  readonly cuda: number;
  readonly cublaslt: string;
}

/** Throws ERR_CAPI_BACKEND_UNAVAILABLE with what is missing. */
export function expectBackend(backend: Backend): void {
  const problem = backend === 'cuda' ? addon.cuda().problem : undefined;
  if (problem === undefined) return;
  throw new CapiError(
    'ERR_CAPI_BACKEND_UNAVAILABLE',
    `Expected a CUDA device for --backend cuda but ${problem}. Nothing was measured.`,
  );
}

/** Names the version of torch too, where there are baselines. */
export function machineInfo({ torch: python, backend }: Settings): MachineInfo {
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
      ...(backend === 'cuda' ? { gpu: gpu() } : {}),
    },
    versions: { ...versions(), ...(python ? { torch: torchVersion(python) } : {}) },
  };
}

/** The first device, which everything runs on. */
function gpu(): Gpu {
  const { interpreted, devices, driverVersion, runtimeVersion, cublaslt } = addon.cuda();
  const [device] = devices;
  return {
    name: device?.name ?? 'unknown',
    interpreted,
    capability: device?.capability ?? 'unknown',
    multiprocessors: device?.multiprocessors ?? 0,
    memoryBytes: device?.totalBytes ?? 0,
    driver: interpreted ? 'none' : driverRelease(),
    driverCuda: driverVersion,
    cuda: runtimeVersion,
    cublaslt: cublaslt?.version ?? 'unknown',
  };
}

function driverRelease(): string {
  try {
    const text = readFileSync('/proc/driver/nvidia/version', 'utf8');
    return /\b\d+\.\d+(\.\d+)?\b/.exec(text)?.[0] ?? 'unknown';
  } catch {
    return 'unknown'; // a container may hide it
  }
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
