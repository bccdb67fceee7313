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

/** Owned native memory, zeroed. After `dispose`, its matrices are refused by every op. */
export interface Storage {
  matrix(byteOffset: number, dtype: string, rows: number, cols: number, stride: number): Matrix;
  dispose(): void;
}

export interface RuntimeStats {
  /** Bytes of tensors alive now, and the most there ever were, in this process. */
  readonly liveBytes: number;
  readonly peakBytes: number;
  /** Bytes that kernels keep for packing and partial sums. */
  readonly scratchBytes: number;
  /** Storages that were garbage-collected without `dispose`: a bug if not 0. */
  readonly leakedStorages: number;
}

export interface Addon {
  readonly Storage: new (bytes: number) => Storage;
  /** Resolves when everything enqueued so far by this thread has run. */
  synchronize(): Promise<void>;
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
