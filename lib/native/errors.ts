/**
 * The one error this library throws on purpose: a closed union of codes for programs, a sentence for people.
 * The native side throws plain errors with the same codes; `isCapiError` recognises both.
 */
export type CapiErrorCode =
  | 'ERR_CAPI_INVALID_ARGUMENT'
  | 'ERR_CAPI_INVALID_CONFIG'
  | 'ERR_CAPI_SHAPE_MISMATCH'
  | 'ERR_CAPI_DTYPE_MISMATCH'
  | 'ERR_CAPI_DEVICE_MISMATCH'
  | 'ERR_CAPI_DISPOSED'
  | 'ERR_CAPI_OUT_OF_MEMORY'
  | 'ERR_CAPI_BACKEND_UNAVAILABLE'
  | 'ERR_CAPI_CUDA'
  | 'ERR_CAPI_NCCL'
  | 'ERR_CAPI_NCCL_TIMEOUT'
  | 'ERR_CAPI_DATA'
  | 'ERR_CAPI_SYSTEM'
  | 'ERR_CAPI_CHECKPOINT_CORRUPT'
  | 'ERR_CAPI_CHECKPOINT_MISMATCH'
  | 'ERR_CAPI_CHECKPOINT_NOT_FOUND'
  | 'ERR_CAPI_CHECKPOINT_WRITE'
  | 'ERR_CAPI_RUN_LOCKED'
  | 'ERR_CAPI_INTERRUPTED'
  | 'ERR_CAPI_NOT_FINITE'
  | 'ERR_CAPI_INTERNAL';

export class CapiError extends Error {
  override readonly name = 'CapiError';
  readonly code: CapiErrorCode;

  constructor(code: CapiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** True for errors of this library, thrown in TypeScript or by the native addon. */
export function isCapiError(error: unknown): error is Error & { readonly code: CapiErrorCode } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_CAPI_');
}

/** `Expected a number > 0 for capi.student_temp but received 0 (number)`. */
export function expectedButReceived(path: string, expected: string, actual: unknown): string {
  return `Expected ${expected} for ${path} but received ${show(actual)} (${typeName(actual)})`;
}

/** The same sentence for an argument of a public function. */
export function invalidArgument(name: string, expected: string, actual: unknown): CapiError {
  return new CapiError('ERR_CAPI_INVALID_ARGUMENT', expectedButReceived(name, expected, actual));
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value === null || typeof value !== 'object') return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
