/**
 * Sentences for data that is not as expected, and the one place that tells a bad image, which is left out, from a failure
 * of the system or the program, which the next image would meet too and which therefore stops the work.
 */
import { types } from 'node:util';
import { CapiError, type CapiErrorCode, isCapiError } from '../native/errors.js';

/** As thrown by TypeScript or by the addon. */
type CodedError = Error & { readonly code: CapiErrorCode };

/** `Expected … but received …. What to do.` */
export function dataError(message: string, cause?: unknown): CapiError {
  return new CapiError('ERR_CAPI_DATA', message, cause === undefined ? undefined : { cause });
}

/** The part of an error that a person needs, on one line. */
export function reason(error: unknown): string {
  const text = types.isNativeError(error) ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, '; ').trim();
}

/** True where an error of `imageError`, `shardError` or `decodeError` is about that image alone. */
export function isBadImage({ code }: CodedError): boolean {
  return code === 'ERR_CAPI_DATA';
}

/** What an error met while reading or decoding the image `name` means. */
export function imageError(name: string, error: unknown): CodedError {
  if (isCapiError(error)) return error;
  const code = codeOf(error);
  if (code === 'ENOENT') {
    return dataError(`${name} is gone: it was there when the images were listed`, error);
  }
  if (code === 'ERR_FS_FILE_TOO_LARGE') return dataError(`${name} is too large: ${reason(error)}`, error);
  if (code === 'ENOMEM' || exhausted.test(reason(error))) return outOfMemory(name, error);
  if (isSystemCode(code)) return systemError(`read ${name}`, error, advice[code] ?? otherAdvice);
  return new CapiError(
    'ERR_CAPI_INTERNAL',
    `Expected to read ${name} but met a fault of the program: ${reason(error)}. Please report it.`,
    { cause: error },
  );
}

/** The same for an image within a shard: a missing shard takes many images with it, so it is not one bad image. */
export function shardError(name: string, error: unknown): CodedError {
  if (codeOf(error) !== 'ENOENT') return imageError(name, error);
  return systemError(`read ${name}`, error, 'Put the shard back, then start again.');
}

/** What sharp says of an image's bytes is about that image, unless the system refused it memory or a thread. */
export function decodeError(name: string, format: string, error: unknown): CapiError {
  if (exhausted.test(reason(error))) return outOfMemory(name, error);
  return dataError(`${name} cannot be decoded as ${format}: ${reason(error)}`, error);
}

/** `doing`: "read a.jpg", "write b.safetensors". */
export function systemError(doing: string, error: unknown, whatToDo: string): CapiError {
  return new CapiError(
    'ERR_CAPI_SYSTEM',
    `Expected to ${doing} but the system answered ${reason(error)}. ${whatToDo}`,
    { cause: error },
  );
}

/** True for errors of the operating system: EIO, ENOSPC and so on. */
export function isSystemError(error: unknown): boolean {
  return isSystemCode(codeOf(error));
}

const otherAdvice = 'Check the disk or mount that holds it, then start again.';
const advice: Readonly<Record<string, string>> = {
  EMFILE:
    'Raise the limit of open files (ulimit -n) or, in training, lower efficiency.dataloader_num_workers, then start again.',
  ENFILE: 'The whole machine has too many files open: close other programs, then start again.',
  EACCES: 'Let this user read the data set, then start again.',
  EPERM: 'Let this user read the data set, then start again.',
  ESTALE: 'Mount the network folder again, then start again.',
};

/** As libvips, sharp, libjpeg, libvips and V8 say it; sizes that only a damaged file claims are refused in other words. */
const exhausted =
  /out of memory -- size|Could not allocate enough memory|Insufficient memory \(case|unable to create thread|Array buffer allocation failed/;

function outOfMemory(name: string, error: unknown): CapiError {
  return new CapiError(
    'ERR_CAPI_OUT_OF_MEMORY',
    `Expected to read ${name} but the system gave no more memory or threads: ${reason(error)}. ` +
      'Close other programs or, in training, lower efficiency.dataloader_num_workers, then start again.',
    { cause: error },
  );
}

function codeOf(error: unknown): string {
  return types.isNativeError(error) && 'code' in error ? String(error.code) : '';
}

function isSystemCode(code: string): boolean {
  return /^E[A-Z0-9]+$/.test(code);
}
