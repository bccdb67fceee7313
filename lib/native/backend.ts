/** Which device computes. A GPU that was asked for and cannot be used is an error with the reason, never a fallback. */
import { addon, type Backend, type CudaReport } from './addon.js';
import { CapiError } from './errors.js';

export type BackendRequest = 'auto' | 'cpu' | 'cuda';

export interface BackendChoice {
  readonly backend: Backend;
  readonly reason: string;
}

/**
 * `auto`: CUDA where it can be used, else the CPU with the reason.
 * Throws ERR_CAPI_BACKEND_UNAVAILABLE when `cuda` was asked for and cannot be used.
 */
export function selectBackend(request: BackendRequest, report: CudaReport = addon.cuda()): BackendChoice {
  const { problem, interpreted, devices } = report;
  switch (request) {
    case 'cuda':
      if (problem === undefined) return { backend: 'cuda', reason: 'asked for' };
      throw new CapiError(
        'ERR_CAPI_BACKEND_UNAVAILABLE',
        `Expected a CUDA device for efficiency.backend=cuda but ${problem}. Or use efficiency.backend=cpu or auto.`,
      );
    case 'cpu':
      return { backend: 'cpu', reason: 'asked for' };
    case 'auto':
      if (problem !== undefined) return { backend: 'cpu', reason: problem };
      // The interpreter is there for tests; the CPU's own kernels are a thousand times as fast.
      if (interpreted) return { backend: 'cpu', reason: 'this build interprets its CUDA kernels' };
      return { backend: 'cuda', reason: devices[0]?.name ?? 'a CUDA device' };
  }
}
