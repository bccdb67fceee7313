/** The state file of a checkpoint: JSON with a checksum of its own, naming the tensors' file and its digest. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { CapiError } from '../native/errors.js';
import type { FileDigest } from './safetensors.js';

export interface CheckpointState {
  /** Iterations done: the next one to run has this number. */
  readonly iteration: number;
  /** The resolved configuration. */
  readonly config: unknown;
  /** Numbers that a resumed run continues from (samples seen, skipped steps, ...). */
  readonly counters: Readonly<Record<string, number>>;
  /** Whatever else must survive, as JSON (the metrics' windows). */
  readonly extras?: unknown;
  /** Of the package, Node, ... */
  readonly versions: Readonly<Record<string, string>>;
}

/** What the file holds, without its checksum. */
export interface StateFile extends CheckpointState {
  readonly format_version: number;
  readonly sequence: number;
  readonly tensors: { readonly file: string } & FileDigest;
}

/** The file of a checkpoint's tensors; a second save of one iteration has a number before the ending. */
export const TENSORS_NAME = /^(step_\d+)(?:\.\d+)?\.safetensors$/;
const FORMAT_VERSION = 1;

/** The body's own checksum is a field beside it: an edited state is as dangerous as an edited tensor. */
export function encodeState(state: Omit<StateFile, 'format_version'>): string {
  const body = JSON.stringify({ format_version: FORMAT_VERSION, ...state });
  return `${JSON.stringify({ state_sha256: sha256(body), ...JSON.parse(body) }, null, 1)}\n`;
}

export async function readStateFile(path: string): Promise<StateFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new CapiError(
      'ERR_CAPI_CHECKPOINT_NOT_FOUND',
      missing ? `There is no checkpoint at ${path}` : `Cannot read the checkpoint ${path}: ${String(cause)}`,
      { cause },
    );
  }
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (cause) {
    throw corruptState('its state is not JSON', cause);
  }
  if (root === null || typeof root !== 'object') throw corruptState('its state is not a JSON object');
  const { state_sha256: checksum, ...body } = root as Record<string, unknown>;
  if (checksum !== sha256(JSON.stringify(body)))
    throw corruptState('its state was altered (checksum differs)');
  if (body.format_version !== FORMAT_VERSION) {
    throw new CapiError(
      'ERR_CAPI_INVALID_ARGUMENT',
      `The checkpoint ${path} has format ${String(body.format_version)}; this version reads ${FORMAT_VERSION}`,
    );
  }
  // The checksum vouches for what saveCheckpoint wrote; only the file name could lead out of the folder.
  const state = body as unknown as StateFile;
  if (!TENSORS_NAME.test(state.tensors?.file)) throw corruptState('its state names no tensors file');
  return state;
}

export function corruptState(why: string, cause?: unknown): CapiError {
  return new CapiError('ERR_CAPI_CHECKPOINT_CORRUPT', why, cause === undefined ? undefined : { cause });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
