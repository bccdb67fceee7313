/**
 * One run a folder. The lock file names its holder by host, boot, pid and the start time of that pid, so that a lock left
 * by a killed run is recognised even when its pid now belongs to another process.
 */
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, realpathSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { CapiError } from '../native/errors.js';

export const LOCK_FILE_NAME = '.capi.lock';

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Changes when the machine restarts. */
  readonly boot: string;
  /** Field 22 of /proc/<pid>/stat: clock ticks from boot to the start of the process. */
  readonly start: string;
  /** For people. */
  readonly since: string;
}

export class RunLock implements Disposable {
  readonly path: string;
  readonly #content: string;
  #held = true;
  readonly #releaseAtExit = () => this.release();

  private constructor(path: string, content: string) {
    this.path = path;
    this.#content = content;
    process.once('exit', this.#releaseAtExit);
  }

  /** Takes the folder, which is made where it is missing, or throws ERR_CAPI_RUN_LOCKED with who has it. */
  static async acquire(folder: string): Promise<RunLock> {
    mkdirSync(folder, { recursive: true });
    const path = join(folder, LOCK_FILE_NAME);
    const guard = await enterGuard(folder);
    try {
      return RunLock.#take(folder, path);
    } finally {
      await leaveGuard(guard);
    }
  }

  static #take(folder: string, path: string): RunLock {
    const content = `${JSON.stringify(ownHolder())}\n`;
    // Written beside and linked: whoever sees the lock sees all of it.
    const draft = `${path}.${process.pid}.tmp`;
    writeFileSync(draft, content);
    try {
      for (let attempt = 0; attempt < 3; attempt += 1) {
        if (linkIfFree(draft, path)) return new RunLock(path, content);
        const holder = readHolder(path);
        if (holder !== undefined && isAlive(holder)) throw locked(folder, path, holder);
        unlinkIfThere(path);
      }
    } finally {
      unlinkIfThere(draft);
    }
    throw new CapiError('ERR_CAPI_RUN_LOCKED', `The run folder ${folder} is being taken by another run`);
  }

  /** Gives the folder back. Safe to call twice; a lock that is no longer ours stays. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    process.removeListener('exit', this.#releaseAtExit);
    if (readIfThere(this.path) === this.#content) unlinkIfThere(this.path);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

function ownHolder(): Holder {
  return {
    pid: process.pid,
    host: hostname(),
    boot: bootId(),
    start: startTime(process.pid) ?? '',
    since: new Date().toISOString(),
  };
}

/** Of another host nothing can be known: such a holder counts as alive. */
function isAlive(holder: Holder): boolean {
  if (holder.host !== hostname()) return true;
  if (holder.boot !== bootId()) return false;
  const start = startTime(holder.pid);
  return start !== undefined && start === holder.start;
}

/** Undefined when there is no such process, or only its zombie. */
function startTime(pid: number): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The name (field 2) may hold spaces and brackets; fields count from the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

function bootId(): string {
  return readIfThere('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
}

function readHolder(path: string): Holder | undefined {
  try {
    const value = JSON.parse(readIfThere(path) ?? '') as Partial<Holder>;
    const { pid, host, boot, start, since } = value;
    if (!Number.isSafeInteger(pid) || typeof host !== 'string') return undefined;
    return { pid: pid ?? 0, host, boot: String(boot), start: String(start), since: String(since) };
  } catch {
    return undefined; // cut short by a power failure: nobody holds it
  }
}

function locked(folder: string, path: string, { pid, host, since }: Holder): CapiError {
  const here = host === hostname();
  const advice = here
    ? 'choose another train.output_dir or stop that run'
    : `choose another train.output_dir, or delete ${path} if that run is over`;
  return new CapiError(
    'ERR_CAPI_RUN_LOCKED',
    `Another run writes to ${folder}: process ${pid} on ${here ? 'this host' : host} since ${since}; ${advice}`,
  );
}

/**
 * Between finding a lock stale and deleting it another process may have taken it. An abstract socket, which the kernel
 * frees with its process, lets one process at a time do both. At most 2 s; without sockets the file alone must do.
 */
async function enterGuard(folder: string): Promise<Server | undefined> {
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 40);
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const outcome = await listen(`\0capi-run-lock-${name}`);
    if (outcome !== 'busy') return outcome;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return undefined;
}

async function listen(address: string): Promise<Server | 'busy' | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'EADDRINUSE' ? 'busy' : undefined),
    );
    server.listen(address, () => resolve(server));
  });
}

async function leaveGuard(server: Server | undefined): Promise<void> {
  if (server !== undefined) await new Promise((resolve) => server.close(resolve));
}

function linkIfFree(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
    return copyIfFree(from, to);
  }
}

/** For file systems without hard links. */
function copyIfFree(from: string, to: string): boolean {
  try {
    writeFileSync(to, readFileSync(from), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
