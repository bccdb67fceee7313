/**
 * Checkpoints of a run: `<folder>/step_0000123.safetensors` with the tensors, `step_0000123.json` with the state, and
 * the pointer `latest`. The order of writing (tensors, state, pointer; each synced, then renamed) makes every moment safe
 * to be killed in: a state file that exists names a whole tensors file. This module knows nothing of the model.
 */
import { createHash } from 'node:crypto';
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

const POINTER = 'latest';
const STATE_NAME = /^step_(\d+)\.json$/;
const TENSORS_NAME = /^(step_\d+)(?:\.\d+)?\.safetensors$/;
const FORMAT_VERSION = 1;

interface StateFile extends CheckpointState {
  readonly format_version: number;
  readonly sequence: number;
  readonly tensors: { readonly file: string } & FileDigest;
}

/**
 * Saves a checkpoint, moves the pointer to it, then keeps only the `keep` newest. When anything fails (a full disk), what
 * was there stays as it was. The tensors' bytes must not change until the promise settles. One saver a folder: the
 * caller holds the run's lock.
 */
export async function saveCheckpoint(
  folder: string,
  state: CheckpointState,
  tensors: readonly TensorEntry[],
  { keep }: { readonly keep: number },
): Promise<SaveResult> {
  const stem = `step_${String(state.iteration).padStart(7, '0')}`;
  const path = join(folder, `${stem}.json`);
  try {
    await mkdir(folder, { recursive: true });
    await removeLeftovers(folder);
    const existing = await listCheckpoints(folder);
    const sequence = Math.max(0, ...existing.map((info) => info.sequence)) + 1;
    const file = await unusedTensorsName(folder, stem);
    const digest = await writeSafetensors(join(folder, file), tensors, { format: 'capi-vit' });
    await writeFileAtomically(
      path,
      encodeState({ format_version: FORMAT_VERSION, sequence, ...state, tensors: { file, ...digest } }),
    );
    await writeFileAtomically(join(folder, POINTER), `${stem}.json\n`);
    const removed = await prune(folder, keep);
    return {
      path,
      tensorsPath: join(folder, file),
      iteration: state.iteration,
      sequence,
      ...digest,
      removed,
    };
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

/** The body's own checksum is a field beside it: an edited state is as dangerous as an edited tensor. */
function encodeState(state: StateFile): string {
  const body = JSON.stringify(state);
  return `${JSON.stringify({ state_sha256: sha256(body), ...JSON.parse(body) }, null, 1)}\n`;
}

async function readStateFile(path: string): Promise<StateFile> {
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
async function prune(folder: string, keep: number): Promise<string[]> {
  const latest = await latestCheckpoint(folder);
  const surplus = (await listCheckpoints(folder))
    .slice(Math.max(1, keep))
    .filter(({ path }) => path !== latest);
  for (const { path, tensorsPath } of surplus) {
    await rm(path, { force: true });
    await rm(tensorsPath, { force: true });
  }
  await removeLeftovers(folder);
  await syncFolder(folder);
  return surplus.map(({ path }) => path);
}

/** Unfinished files, and tensors that no state names: what a killed save leaves behind. */
async function removeLeftovers(folder: string): Promise<void> {
  const names = await namesIn(folder);
  const named = new Set((await listCheckpoints(folder)).map(({ tensorsPath }) => basename(tensorsPath)));
  for (const name of names) {
    const stem = TENSORS_NAME.exec(name)?.[1];
    // A damaged state may be of those tensors: leave both to a person.
    const orphan = stem !== undefined && !named.has(name) && !(await isDamagedState(folder, names, stem));
    if (orphan || name.endsWith(TEMPORARY_SUFFIX)) await rm(join(folder, name), { force: true });
  }
}

async function isDamagedState(folder: string, names: readonly string[], stem: string): Promise<boolean> {
  if (!names.includes(`${stem}.json`)) return false;
  return readStateFile(join(folder, `${stem}.json`)).then(
    () => false,
    () => true,
  );
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

function cannotSave(path: string, error: unknown): unknown {
  if (error instanceof CapiError) return error;
  const reasons: Record<string, string> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    EFBIG: 'the file would exceed the size limit',
    EROFS: 'the file system is read-only',
    EACCES: 'the folder may not be written',
  };
  const code = String((error as NodeJS.ErrnoException).code);
  return new CapiError(
    'ERR_CAPI_CHECKPOINT_WRITE',
    `Cannot save the checkpoint ${path}: ${reasons[code] ?? String(error)}; earlier checkpoints are untouched`,
    { cause: error },
  );
}

function corruptState(why: string, cause?: unknown): CapiError {
  return new CapiError('ERR_CAPI_CHECKPOINT_CORRUPT', why, cause === undefined ? undefined : { cause });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
