/**
 * Checkpoints of a run: `<folder>/step_0000123.safetensors` with the tensors, `step_0000123.json` with the state, and
 * the pointer `latest`. The order of writing (tensors, state, pointer; each synced, then renamed) makes every moment safe
 * to be killed in: a state file that exists names a whole tensors file. This module knows nothing of the model.
 */
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CapiError } from '../native/errors.js';
import { syncFolder, TEMPORARY_SUFFIX, writeFileAtomically } from './durable.js';
import {
  digestFile,
  type FileDigest,
  readSafetensors,
  type TensorEntry,
  writeSafetensors,
} from './safetensors.js';
import {
  type CheckpointState,
  corruptState,
  encodeState,
  readStateFile,
  type StateFile,
  TENSORS_NAME,
} from './state_file.js';

export interface CheckpointInfo {
  /** The state file: what names a checkpoint everywhere. */
  readonly path: string;
  readonly tensorsPath: string;
  readonly iteration: number;
  /** Rises with every save in a folder; the newest checkpoint has the highest. */
  readonly sequence: number;
}

export interface LoadedCheckpoint extends CheckpointInfo {
  readonly state: CheckpointState;
  readonly tensors: readonly TensorEntry[];
}

export interface SaveResult extends CheckpointInfo, FileDigest {
  /** Older checkpoints that were deleted. */
  readonly removed: readonly string[];
  /** Why files that should have been deleted still stand. The checkpoint is saved all the same. */
  readonly notRemoved: readonly string[];
}

/** A damaged checkpoint, and the newest sound one besides it. */
export class CheckpointCorruptError extends CapiError {
  readonly path: string;
  readonly previousGood: string | undefined;

  constructor(path: string, why: string, previousGood: string | undefined, options?: ErrorOptions) {
    const offer =
      previousGood === undefined
        ? 'there is no other sound checkpoint beside it'
        : `previous good: ${previousGood} (continue from it with train.resume_from=${previousGood})`;
    super('ERR_CAPI_CHECKPOINT_CORRUPT', `The checkpoint ${path} is damaged: ${why}; ${offer}`, options);
    this.path = path;
    this.previousGood = previousGood;
  }
}

/** A checkpoint that the file system refused. Those before it stand as they were. */
export class CheckpointWriteError extends CapiError {
  readonly reason: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(
      'ERR_CAPI_CHECKPOINT_WRITE',
      `Cannot save the checkpoint ${path}: ${reason}; earlier checkpoints are untouched`,
      options,
    );
    this.reason = reason;
  }
}

const POINTER = 'latest';
const STATE_NAME = /^step_(\d+)\.json$/;

/**
 * Saves a checkpoint, moves the pointer to it, then keeps only the `keep` newest. When the file system refuses (a full disk),
 * what was there stays as it was and a CheckpointWriteError says why. The tensors' bytes must not change until the promise
 * settles. One saver a folder: the caller holds the run's lock.
 */
export async function saveCheckpoint(
  folder: string,
  state: CheckpointState,
  tensors: readonly TensorEntry[],
  { keep }: { readonly keep: number },
): Promise<SaveResult> {
  const saved = await writeCheckpoint(folder, state, tensors);
  return { ...saved, ...(await prune(folder, keep)) };
}

async function writeCheckpoint(
  folder: string,
  state: CheckpointState,
  tensors: readonly TensorEntry[],
): Promise<CheckpointInfo & FileDigest> {
  const stem = `step_${String(state.iteration).padStart(7, '0')}`;
  const path = join(folder, `${stem}.json`);
  try {
    await mkdir(folder, { recursive: true });
    await removeLeftovers(folder); // makes room; what it cannot delete is told after the save
    const existing = await listCheckpoints(folder);
    const sequence = Math.max(0, ...existing.map((info) => info.sequence)) + 1;
    const file = await unusedTensorsName(folder, stem);
    const digest = await writeSafetensors(join(folder, file), tensors, { format: 'capi-vit' });
    await writeFileAtomically(path, encodeState({ sequence, ...state, tensors: { file, ...digest } }));
    await writeFileAtomically(join(folder, POINTER), `${stem}.json\n`);
    return { path, tensorsPath: join(folder, file), iteration: state.iteration, sequence, ...digest };
  } catch (error) {
    await removeLeftovers(folder).catch(() => undefined);
    throw cannotSave(path, error);
  }
}

/** Every readable state file of a folder, newest first; the tensors are not looked at. */
export async function listCheckpoints(folder: string): Promise<CheckpointInfo[]> {
  const found: CheckpointInfo[] = [];
  for (const name of await namesIn(folder)) {
    if (!STATE_NAME.test(name)) continue;
    const file = await readStateFile(join(folder, name)).catch(() => undefined);
    if (file !== undefined) found.push(info(join(folder, name), file));
  }
  return found.sort((a, b) => b.sequence - a.sequence);
}

/** The state file that `latest` names; without a usable pointer, the newest; undefined where there is none. */
export async function latestCheckpoint(folder: string): Promise<string | undefined> {
  const pointed = (await readFile(join(folder, POINTER), 'utf8').catch(() => '')).trim();
  const names = await namesIn(folder);
  if (STATE_NAME.test(pointed) && names.includes(pointed)) return join(folder, pointed);
  const [newest] = await listCheckpoints(folder);
  if (newest !== undefined) return newest.path;
  // Nothing readable, but not nothing: the caller must hear of the damage rather than start anew.
  const damaged = names
    .filter((name) => STATE_NAME.test(name))
    .sort()
    .at(-1);
  return damaged === undefined ? undefined : join(folder, damaged);
}

/**
 * What a person may name: a run folder, its `checkpoints` folder, a state file or a tensors file.
 * Returns the state file's path.
 */
export async function resolveCheckpoint(named: string): Promise<string> {
  const isFolder = await stat(named).then(
    (found) => found.isDirectory(),
    () => undefined,
  );
  if (isFolder === undefined) {
    throw new CapiError('ERR_CAPI_CHECKPOINT_NOT_FOUND', `There is no checkpoint at ${named}`);
  }
  if (isFolder) {
    const path = (await latestCheckpoint(named)) ?? (await latestCheckpoint(join(named, 'checkpoints')));
    if (path !== undefined) return path;
    throw new CapiError('ERR_CAPI_CHECKPOINT_NOT_FOUND', `There is no checkpoint in the folder ${named}`);
  }
  const stem = TENSORS_NAME.exec(basename(named))?.[1];
  return stem === undefined ? named : join(dirname(named), `${stem}.json`);
}

/**
 * Reads and verifies a checkpoint by its state file. Damage is reported with the newest sound checkpoint beside it; that
 * one is loaded only when the caller asks for it. `select` says which tensors to keep.
 */
export async function loadCheckpoint(
  path: string,
  select?: (name: string) => boolean,
): Promise<LoadedCheckpoint> {
  try {
    const file = await readStateFile(path);
    const found = info(path, file);
    const { entries, bytes, sha256 } = await readSafetensors(found.tensorsPath, select);
    checkDigest(found.tensorsPath, file.tensors, { bytes, sha256 });
    const { format_version: _version, sequence: _sequence, tensors: _tensors, ...state } = file;
    return { ...found, state, tensors: entries };
  } catch (error) {
    if (!(error instanceof CapiError)) throw error;
    // A state file without its tensors is damage; without a state file there is nothing to be damaged.
    const missing = error.code === 'ERR_CAPI_CHECKPOINT_NOT_FOUND' && !(await exists(path));
    if (missing || error.code === 'ERR_CAPI_INVALID_ARGUMENT') throw error;
    const previous = await newestSound(dirname(path), path);
    throw new CheckpointCorruptError(path, error.message, previous, { cause: error });
  }
}

export interface ExpectedTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Throws with every missing, unexpected and differently shaped tensor, so that the cause shows at one look. */
export function checkTensors(
  expected: readonly ExpectedTensor[],
  found: readonly ExpectedTensor[],
  path: string,
): void {
  const describe = ({ dtype, shape }: ExpectedTensor) => `${dtype} [${shape.join(', ')}]`;
  const byName = new Map(found.map((tensor) => [tensor.name, tensor]));
  const wanted = new Set(expected.map((tensor) => tensor.name));
  const lines: string[] = [];
  for (const tensor of expected) {
    const other = byName.get(tensor.name);
    if (other === undefined) lines.push(`missing: ${tensor.name} ${describe(tensor)}`);
    else if (describe(other) !== describe(tensor)) {
      lines.push(`${tensor.name}: ${describe(other)} in the checkpoint, ${describe(tensor)} in this model`);
    }
  }
  for (const tensor of found) {
    if (!wanted.has(tensor.name)) lines.push(`unexpected: ${tensor.name} ${describe(tensor)}`);
  }
  if (lines.length === 0) return;
  throw new CapiError(
    'ERR_CAPI_CHECKPOINT_MISMATCH',
    `The checkpoint ${path} is of another architecture (${lines.length} differences):\n  ${lines.join('\n  ')}`,
  );
}

function info(path: string, { tensors, iteration, sequence }: StateFile): CheckpointInfo {
  return { path, tensorsPath: join(dirname(path), tensors.file), iteration, sequence };
}

function checkDigest(path: string, saved: FileDigest, found: FileDigest): void {
  if (saved.bytes !== found.bytes) {
    throw corruptState(`${path} has ${found.bytes} bytes, ${saved.bytes} were written`);
  }
  if (saved.sha256 !== found.sha256) throw corruptState(`${path} was altered (SHA-256 differs)`);
}

/** The newest checkpoint whose bytes are those that were written, other than `except`. */
async function newestSound(folder: string, except: string): Promise<string | undefined> {
  for (const candidate of await listCheckpoints(folder)) {
    if (candidate.path === join(folder, basename(except))) continue;
    try {
      const { tensors } = await readStateFile(candidate.path);
      checkDigest(candidate.tensorsPath, tensors, await digestFile(candidate.tensorsPath));
      return candidate.path;
    } catch {}
  }
  return undefined;
}

/** Deletes all but the `keep` newest; never the one that the pointer names. The state goes first: no state, no checkpoint. */
async function prune(folder: string, keep: number): Promise<Pick<SaveResult, 'removed' | 'notRemoved'>> {
  const removed: string[] = [];
  const notRemoved: string[] = [];
  try {
    const latest = await latestCheckpoint(folder);
    const surplus = (await listCheckpoints(folder)).slice(Math.max(1, keep));
    for (const { path } of surplus) {
      if (path === latest) continue;
      const failure = await remove(path);
      if (failure === undefined) removed.push(path);
      else notRemoved.push(failure);
    }
    notRemoved.push(...(await removeLeftovers(folder))); // their tensors among them
    await syncFolder(folder);
  } catch (error) {
    notRemoved.push(messageOf(error));
  }
  return { removed, notRemoved };
}

/**
 * Deletes unfinished files, and tensors that no state names: what a killed save leaves behind. Returns why some of them still
 * stand.
 */
async function removeLeftovers(folder: string): Promise<string[]> {
  const names = await namesIn(folder);
  const { named, unread } = await owners(folder, names);
  const failures: string[] = [];
  for (const name of names) {
    const stem = TENSORS_NAME.exec(name)?.[1];
    const orphan = stem !== undefined && !named.has(name) && !unread.has(stem);
    if (!orphan && !name.endsWith(TEMPORARY_SUFFIX)) continue;
    const failure = await remove(join(folder, name));
    if (failure !== undefined) failures.push(failure);
  }
  return failures;
}

/**
 * The tensors' files that states name, and the stems of states that tell nothing now: those are damaged, or cannot be read for
 * a moment, and may be of any tensors of that stem. Each is read once: a second answer could contradict the first.
 */
async function owners(
  folder: string,
  names: readonly string[],
): Promise<{ readonly named: ReadonlySet<string>; readonly unread: ReadonlySet<string> }> {
  const named = new Set<string>();
  const unread = new Set<string>();
  for (const name of names.filter((name) => STATE_NAME.test(name))) {
    const file = await readStateFile(join(folder, name)).catch(() => undefined);
    if (file === undefined) unread.add(basename(name, '.json'));
    else named.add(file.tensors.file);
  }
  return { named, unread };
}

/** Undefined, or why the file still stands. */
async function remove(path: string): Promise<string | undefined> {
  return rm(path, { force: true }).then(() => undefined, messageOf);
}

/** A second save of one iteration must not touch the bytes that the first one's state vouches for. */
async function unusedTensorsName(folder: string, stem: string): Promise<string> {
  const taken = new Set(await namesIn(folder));
  let name = `${stem}.safetensors`;
  for (let copy = 1; taken.has(name); copy += 1) name = `${stem}.${copy}.safetensors`;
  return name;
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    // Any other failure must be heard: a run that finds no checkpoint starts anew.
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw new CapiError(
      'ERR_CAPI_CHECKPOINT_NOT_FOUND',
      `Cannot look for checkpoints in ${folder}: ${error.message}`,
      {
        cause: error,
      },
    );
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** What the file system says becomes a CheckpointWriteError; anything else is a fault of ours and stays as it is. */
function cannotSave(path: string, error: unknown): unknown {
  const cause = error instanceof CapiError ? error.cause : error;
  const { code, message } = (cause ?? {}) as NodeJS.ErrnoException;
  if (!/^E[A-Z0-9]+$/.test(String(code))) return error;
  const reasons: Record<string, string> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    EFBIG: 'the file would exceed the size limit',
    EROFS: 'the file system is read-only',
    EACCES: 'the folder may not be written',
    EIO: 'the disk reports an error',
  };
  const known = reasons[String(code)];
  return new CheckpointWriteError(path, known ? `${known} (${code})` : String(message), { cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
