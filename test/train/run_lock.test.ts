import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOCK_FILE_NAME, RunLock } from '../../lib/train/run_lock.js';

let folder: string;
let lockPath: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'capi-lock-'));
  lockPath = join(folder, LOCK_FILE_NAME);
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

const SCRIPT = `
  import { RunLock } from './lib/train/run_lock.ts';
  process.stdin.on('end', () => process.exit()).resume();
  try {
    await RunLock.acquire(process.argv[1]);
    console.log('taken');
  } catch (error) {
    console.log(error.code);
    process.exit(1);
  }`;

function holder(): ChildProcess {
  const args = ['--import', 'tsx', '--input-type=module', '-e', SCRIPT, folder];
  return spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [chunk] = await once(child.stdout!, 'data');
  return String(chunk).trim();
}

test('a second run in the folder is refused and told who has it', async () => {
  using _first = await RunLock.acquire(folder);
  await expect(RunLock.acquire(folder)).rejects.toMatchObject({
    code: 'ERR_CAPI_RUN_LOCKED',
    message: expect.stringMatching(new RegExp(`process ${process.pid} on this host since \\d{4}-`)),
  });
});

test('a released folder is free, and nothing is left in it', async () => {
  const lock = await RunLock.acquire(folder);
  lock.release();
  lock.release();
  expect(await readdir(folder)).toEqual([]);
  using _again = await RunLock.acquire(folder);
});

test('a missing folder is made', async () => {
  using lock = await RunLock.acquire(join(folder, 'a', 'b'));
  expect(lock.path).toBe(join(folder, 'a', 'b', LOCK_FILE_NAME));
});

test('another process is refused while it lives, and its lock is taken over after kill -9', async () => {
  const child = holder();
  expect(await firstLine(child)).toBe('taken');
  await expect(RunLock.acquire(folder)).rejects.toMatchObject({ code: 'ERR_CAPI_RUN_LOCKED' });
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(await readdir(folder)).toEqual([LOCK_FILE_NAME]);
  using _lock = await RunLock.acquire(folder);
});

test('a process that ends by itself takes its lock with it', async () => {
  const child = holder();
  expect(await firstLine(child)).toBe('taken');
  child.stdin!.end();
  await once(child, 'close');
  expect(await readdir(folder)).toEqual([]);
});

test('of several that find a stale lock, one takes it', async () => {
  await writeFile(
    lockPath,
    JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), boot: 'x', start: '1', since: '' }),
  );
  const children = [holder(), holder(), holder(), holder()];
  const lines = await Promise.all(children.map(firstLine));
  expect(lines.sort()).toEqual([
    'ERR_CAPI_RUN_LOCKED',
    'ERR_CAPI_RUN_LOCKED',
    'ERR_CAPI_RUN_LOCKED',
    'taken',
  ]);
  for (const child of children) child.stdin!.end();
  await Promise.all(children.map((child) => child.exitCode ?? once(child, 'close')));
});

describe('a lock is stale', () => {
  async function lockWith(change: object): Promise<void> {
    const lock = await RunLock.acquire(folder);
    const content = JSON.parse(await readFile(lockPath, 'utf8'));
    lock.release();
    await writeFile(lockPath, JSON.stringify({ ...content, ...change }));
  }

  test.each([
    ['when its pid is free', { pid: 2 ** 22 + 1 }],
    ['when its pid belongs to a process that started at another time', { start: '12345' }],
    ['when the machine was restarted since', { boot: 'another' }],
  ])('%s', async (_when, change) => {
    await lockWith(change);
    using _lock = await RunLock.acquire(folder);
  });

  test.each(['', '{"pid": 1', 'null', '{}'])('when its file says %j', async (content) => {
    await writeFile(lockPath, content);
    using _lock = await RunLock.acquire(folder);
  });

  test('but not when it is of another host, of which nothing is known', async () => {
    await lockWith({ host: 'elsewhere', pid: 2 ** 22 + 1 });
    await expect(RunLock.acquire(folder)).rejects.toMatchObject({
      code: 'ERR_CAPI_RUN_LOCKED',
      message: expect.stringContaining(`delete ${lockPath} if that run is over`),
    });
  });
});

test('a lock that another took over is not deleted by its old holder', async () => {
  const lock = await RunLock.acquire(folder);
  await writeFile(lockPath, 'of another');
  lock.release();
  expect(await readFile(lockPath, 'utf8')).toBe('of another');
});
