/** Which device computes. A GPU that was asked for and cannot be used is an error with the reason, never a fallback. */
import { addon, type Backend } from './addon.js';
import { CapiError } from './errors.js';

export type BackendRequest = 'auto' | 'cpu' | 'cuda';

export interface BackendChoice {
  readonly backend: Backend;
  readonly reason: string;
}

/** docs/gpu-status.md. When a GPU has passed the tests, `auto` takes CUDA wherever it can be used. */
const unproven = 'the CUDA kernels have not run on a GPU yet';

/** What stands before the request where people write it: in a configuration, `efficiency.backend=`. */
export type BackendSetting = 'efficiency.backend=' | '--backend ' | 'backend: ';

/**
 * `auto` takes the CPU and says why.
 * Throws ERR_CAPI_BACKEND_UNAVAILABLE when `cuda` was asked for and cannot be used, ERR_CAPI_CUDA after a kernel's fault.
 */
export function selectBackend(request: BackendRequest, setting: BackendSetting): BackendChoice {
  const { problem, lost } = addon.cuda();
  switch (request) {
    case 'cuda':
      if (problem === undefined) return { backend: 'cuda', reason: 'asked for' };
      throw new CapiError(
        lost ? 'ERR_CAPI_CUDA' : 'ERR_CAPI_BACKEND_UNAVAILABLE',
        `Expected a CUDA device for ${setting}cuda but ${problem}. Or use ${setting}cpu or auto.`,
      );
    case 'cpu':
      return { backend: 'cpu', reason: 'asked for' };
    case 'auto':
      return { backend: 'cpu', reason: problem ?? `${unproven}; ${setting}cuda asks for them` };
  }
}
