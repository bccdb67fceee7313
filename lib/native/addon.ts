/**
 * Loads the native addon: a prebuilt binary, or the one that `npm run build:native` made. Everything it
 * exports is declared here or, for ops, in lib/tensor/ops_*.ts.
 */
import { createRequire } from 'node:module';
import { CapiError } from './errors.js';
import { packageRoot } from './package_root.js';

/** A typed view of native memory. `write` enqueues a copy; `read` promises the bytes, packed row by row. */
export interface Matrix {
  write(data: ArrayBufferView): void;
  read(): Promise<ArrayBuffer>;
}

/** Where memory lies and ops on it run. */
export type Backend = 'cpu' | 'cuda';

/** Owned native memory, zeroed. After `dispose`, its matrices are refused by every op. */
export interface Storage {
  matrix(byteOffset: number, dtype: string, rows: number, cols: number, stride: number): Matrix;
  dispose(): void;
}

export interface RuntimeStats {
  /** Bytes of tensors alive now, and the most there ever were, in this process: in host memory, then on the CUDA device. */
  readonly liveBytes: number;
  readonly peakBytes: number;
  readonly deviceLiveBytes: number;
  readonly devicePeakBytes: number;
  /** What was asked for when the device last ran out of memory; 0: it never did. */
  readonly deviceRefusedBytes: number;
  /** Bytes that kernels keep for packing and partial sums. */
  readonly scratchBytes: number;
  /** Storages that were garbage-collected without `dispose`: a bug if not 0. */
  readonly leakedStorages: number;
}

export interface CudaDevice {
  readonly name: string;
  /** Compute capability, such as `9.0`. */
  readonly capability: string;
  readonly multiprocessors: number;
  readonly totalBytes: number;
  /** Of the first device; 0 for others. */
  readonly freeBytes: number;
}

/** What the CUDA backend finds on this machine. */
export interface CudaReport {
  /** Whether this build has CUDA kernels. */
  readonly built: boolean;
  /** Kernels run on the CPU, in the interpreter of the tests. */
  readonly interpreted: boolean;
  /** The first thing to fix; undefined when CUDA can be used. */
  readonly problem?: string;
  /** A kernel's fault ended CUDA for this process. */
  readonly lost: boolean;
  /** 13000 is CUDA 13.0; the driver's is the newest it knows, 0 without a driver. */
  readonly runtimeVersion: number;
  readonly driverVersion: number;
  readonly devices: readonly CudaDevice[];
  /** The library that multiplies matrices; undefined where it was not found. */
  readonly cublaslt?: { readonly path: string; readonly version: string };
}

/** Ops recorded once and enqueued again by one call. */
export interface Graph {
  /** From here on ops of this thread are recorded and not run; reading, writing and allocating throw. */
  begin(): void;
  end(): void;
  replay(): void;
  dispose(): void;
}

export interface Addon {
  readonly Storage: new (bytes: number, backend?: Backend) => Storage;
  readonly Graph: new () => Graph;
  /** Resolves when everything enqueued so far by this thread has run; rejects with the error that stopped it. */
  synchronize(): Promise<void>;
  cuda(): CudaReport;
  /** How many threads CPU kernels use from the next op on; results do not depend on it. */
  setThreads(count: number): void;
  threads(): number;
  /** `avx2`, `avx512` or `avx512_bf16`. Throws ERR_CAPI_BACKEND_UNAVAILABLE without AVX2. */
  cpuIsa(): string;
  stats(): RuntimeStats;
}

function load(): Addon {
  const require = createRequire(import.meta.url);
  // CAPI_ADDON names another build of the addon, such as the one with emulated AVX-512 kernels.
  const named = process.env.CAPI_ADDON;
  try {
    return named ? require(named) : require('node-gyp-build')(packageRoot());
  } catch (error) {
    throw new CapiError(
      'ERR_CAPI_BACKEND_UNAVAILABLE',
      `Expected the native addon ${named ?? `in ${packageRoot()}`} but it could not be loaded: ` +
        `${error instanceof Error ? error.message : String(error)}. Run \`npm run build:native\`, or install a release, ` +
        'which carries a prebuilt binary for linux-x64.',
      { cause: error },
    );
  }
}

export const addon: Addon = load();
