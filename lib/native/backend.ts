/** Which device computes. A GPU that was asked for and cannot be used is an error with the reason, never a fallback. */
import { CapiError } from './errors.js';

export type BackendRequest = 'auto' | 'cpu' | 'cuda';

export interface BackendChoice {
  readonly backend: 'cpu';
  readonly reason: string;
}

const noCuda = 'this build has no CUDA backend';

/** Throws ERR_CAPI_BACKEND_UNAVAILABLE when `cuda` was asked for. */
export function selectBackend(request: BackendRequest): BackendChoice {
  switch (request) {
    case 'cuda':
      throw new CapiError(
        'ERR_CAPI_BACKEND_UNAVAILABLE',
        `Expected a CUDA device for efficiency.backend=cuda but ${noCuda}; use efficiency.backend=cpu or auto`,
      );
    case 'cpu':
      return { backend: 'cpu', reason: 'asked for' };
    case 'auto':
      return { backend: 'cpu', reason: noCuda };
  }
}
