/** Sentences for data that is not as expected. */
import { CapiError } from '../native/errors.js';

/** `Expected … but received …. What to do.` */
export function dataError(message: string, cause?: unknown): CapiError {
  return new CapiError('ERR_CAPI_DATA', message, cause === undefined ? undefined : { cause });
}

/** The part of an error that a person needs, on one line. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, '; ').trim();
}
