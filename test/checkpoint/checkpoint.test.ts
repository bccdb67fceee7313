import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CheckpointWriteError,
  checkTensors,
  latestCheckpoint,
  listCheckpoints,
  loadCheckpoint,
  resolveCheckpoint,
  saveCheckpoint,
} from '../../lib/checkpoint/checkpoint.js';
import type { TensorEntry } from '../../lib/checkpoint/safetensors.js';
import type { CheckpointState } from '../../lib/checkpoint/state_file.js';

let run: string;
let folder: string;

beforeEach(async () => {
  run = await mkdtemp(join(tmpdir(), 'capi-checkpoint-'));
  folder = join(run, 'checkpoints');
});

afterEach(async () => {
  await rm(run, { recursive: true });
});

function stateAt(iteration: number): CheckpointState {
  return {
    iteration,
    config: { train: { seed: 3 } },
    counters: { samples: iteration * 32, skipped: 0 },
    extras: { windows: { lr: [0.1, null] } },
    versions: { 'capi-vit': '0.1.0' },
  };
}

function tensorsAt(iteration: number): TensorEntry[] {
  const data = new Uint8Array(new Float32Array(64).fill(iteration).buffer);
  return [{ name: 'w', dtype: 'f32', shape: [8, 8], data }];
}

const save = (iteration: number, keep = 3) =>
  saveCheckpoint(folder, stateAt(iteration), tensorsAt(iteration), { keep });

test('a saved checkpoint is loaded with its state and its bytes', async () => {
  const saved = await save(123);
  expect(saved.path).toBe(join(folder, 'step_0000123.json'));
  const loaded = await loadCheckpoint(saved.path);
  expect(loaded.state).toEqual(stateAt(123));
  expect(loaded.tensors).toEqual(tensorsAt(123));
  expect((await readdir(folder)).sort()).toEqual(['latest', 'step_0000123.json', 'step_0000123.safetensors']);
});

test('the newest N are kept and the pointer names the newest', async () => {
  for (const iteration of [1, 2, 3, 4]) await save(iteration, 2);
  expect((await listCheckpoints(folder)).map(({ iteration }) => iteration)).toEqual([4, 3]);
  expect(await latestCheckpoint(folder)).toBe(join(folder, 'step_0000004.json'));
  expect(await readdir(folder)).toHaveLength(5);
});

test('what cannot be deleted is named, and neither this save nor the next ones fail for it', async () => {
  const { tensorsPath } = await save(1);
  await rm(tensorsPath);
  await mkdir(tensorsPath); // only files are deleted
  for (const iteration of [2, 3]) {
    const { removed, notRemoved } = await save(iteration, 1);
    expect(removed).toHaveLength(1);
    expect(notRemoved).toEqual([expect.stringContaining(tensorsPath)]);
  }
  expect((await loadCheckpoint((await latestCheckpoint(folder))!)).iteration).toBe(3);
  expect((await save(4)).notRemoved).toHaveLength(1);
});

test('a fault that is not of the file system is not called one', async () => {
  const twice = [...tensorsAt(1), ...tensorsAt(1)];
  await expect(saveCheckpoint(folder, stateAt(1), twice, { keep: 1 })).rejects.toMatchObject({
    code: 'ERR_CAPI_INVALID_ARGUMENT',
  });
  await rm(folder, { recursive: true });
  await writeFile(folder, 'in the way');
  await expect(save(1)).rejects.toBeInstanceOf(CheckpointWriteError);
});

test('going on from an older checkpoint keeps what is saved last, not what is numbered highest', async () => {
  for (const iteration of [100, 200, 300]) await save(iteration);
  const { removed } = await save(150, 1);
  expect(removed).toHaveLength(3);
  expect((await loadCheckpoint((await latestCheckpoint(folder))!)).iteration).toBe(150);
});

test('an iteration may be saved twice', async () => {
  await save(5);
  await saveCheckpoint(folder, stateAt(5), tensorsAt(77), { keep: 3 });
  expect((await loadCheckpoint(await resolveCheckpoint(run))).tensors).toEqual(tensorsAt(77));
  expect((await readdir(folder)).filter((name) => name.endsWith('.safetensors'))).toHaveLength(1);
});

test('a run, its folder, the state or the tensors file name a checkpoint', async () => {
  const { path, tensorsPath } = await save(5);
  for (const named of [run, folder, path, tensorsPath]) expect(await resolveCheckpoint(named)).toBe(path);
  await expect(resolveCheckpoint(join(run, 'nothing'))).rejects.toMatchObject({
    code: 'ERR_CAPI_CHECKPOINT_NOT_FOUND',
  });
  await rm(folder, { recursive: true });
  await expect(resolveCheckpoint(run)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_NOT_FOUND' });
  await expect(loadCheckpoint(path)).rejects.toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_NOT_FOUND' });
});

test('a lost or senseless pointer falls back to the newest state', async () => {
  await save(1);
  const { path } = await save(2);
  await writeFile(join(folder, 'latest'), '../../etc/passwd\n');
  expect(await latestCheckpoint(folder)).toBe(path);
  await rm(join(folder, 'latest'));
  expect(await latestCheckpoint(folder)).toBe(path);
});

describe('a damaged checkpoint', () => {
  const damages: [string, (state: string, tensors: string) => Promise<void>][] = [
    ['truncated tensors', (_, tensors) => truncate(tensors, 200)],
    ['longer tensors', (_, tensors) => appendFile(tensors, 'x')],
    ['one changed bit', async (_, tensors) => flip(tensors)],
    ['missing tensors', (_, tensors) => rm(tensors)],
    ['a truncated state', (state) => truncate(state, 50)],
    ['an empty state', (state) => truncate(state, 0)],
    [
      'an edited state',
      async (state) => writeFile(state, (await readFile(state, 'utf8')).replace('"seed": 3', '"seed": 4')),
    ],
  ];

  test.each(damages)('%s is named and the previous one offered', async (_what, damage) => {
    const previous = await save(1);
    const { path, tensorsPath } = await save(2);
    await damage(path, tensorsPath);
    await expect(loadCheckpoint(await resolveCheckpoint(run))).rejects.toMatchObject({
      code: 'ERR_CAPI_CHECKPOINT_CORRUPT',
      path,
      previousGood: previous.path,
      message: expect.stringContaining(`previous good: ${previous.path}`),
    });
    expect((await loadCheckpoint(previous.path)).iteration).toBe(1);
  });

  test('alone is not mistaken for no checkpoint', async () => {
    const { path } = await save(2);
    await truncate(path, 10);
    await rm(join(folder, 'latest'));
    await expect(loadCheckpoint((await latestCheckpoint(folder))!)).rejects.toMatchObject({
      code: 'ERR_CAPI_CHECKPOINT_CORRUPT',
      previousGood: undefined,
    });
  });

  test('is skipped when the previous one is damaged too', async () => {
    const sound = await save(1);
    await flip((await save(2)).tensorsPath);
    const { path, tensorsPath } = await save(3);
    await flip(tensorsPath);
    await expect(loadCheckpoint(path)).rejects.toMatchObject({ previousGood: sound.path });
  });

  async function flip(path: string): Promise<void> {
    const bytes = await readFile(path);
    bytes[bytes.byteLength - 3]! ^= 1;
    await writeFile(path, bytes);
  }
});

test('what a killed save left behind is removed by the next', async () => {
  await save(1);
  for (const name of ['step_0000002.safetensors', 'step_0000002.safetensors.99.tmp', 'latest.99.tmp']) {
    await writeFile(join(folder, name), 'half');
  }
  await writeFile(join(folder, 'notes.txt'), 'mine');
  await save(3);
  expect((await readdir(folder)).sort()).toEqual([
    'latest',
    'notes.txt',
    'step_0000001.json',
    'step_0000001.safetensors',
    'step_0000003.json',
    'step_0000003.safetensors',
  ]);
});

test('every tensor that does not fit the model is listed', () => {
  const tensor = (name: string, ...shape: number[]) => ({ name, dtype: 'f32', shape });
  const expected = [tensor('a', 2, 3), tensor('b', 4), tensor('c', 1)];
  expect(() => checkTensors(expected, expected, 'x.json')).not.toThrow();
  try {
    checkTensors(expected, [tensor('a', 3, 2), tensor('c', 1), tensor('d', 9)], 'x.json');
    throw new Error('accepted');
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_CAPI_CHECKPOINT_MISMATCH' });
    const { message } = error as Error;
    expect(message).toContain('x.json is of another architecture (3 differences)');
    expect(message).toContain('a: f32 [3, 2] in the checkpoint, f32 [2, 3] in this model');
    expect(message).toContain('missing: b f32 [4]');
    expect(message).toContain('unexpected: d f32 [9]');
  }
});

describe('in a process of its own', () => {
  /** Saves checkpoints of `floats` values without end, printing each iteration when it is safe. */
  function saver(floats: number, prelude = ''): ChildProcess {
    const script = `
      import { saveCheckpoint } from './lib/checkpoint/checkpoint.ts';
      for (let i = 1; ; i += 1) {
        const data = new Uint8Array(new Float32Array(${floats}).fill(i).buffer);
        const state = { iteration: i, config: {}, counters: {}, versions: {} };
        try {
          await saveCheckpoint(process.argv[1], state, [{ name: 'w', dtype: 'f32', shape: [${floats}], data }], { keep: 2 });
        } catch (error) {
          console.log(error.code + ' ' + error.message);
          process.exit(3);
        }
        console.log(i);
      }`;
    const node = `exec "${process.execPath}" --import tsx --input-type=module -e "$0" "$1"`;
    return spawn('bash', ['-c', prelude + node, script, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  test('a save killed at any moment leaves a sound checkpoint that is not older than the last reported', async () => {
    for (let round = 0; round < 6; round += 1) {
      const child = saver(300_000);
      let output = '';
      child.stdout!.on('data', (chunk) => {
        output += chunk;
      });
      while (!output.includes('\n')) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, 3 + 17 * round));
      child.kill('SIGKILL');
      await once(child, 'close');
      const reported = Number(output.trim().split('\n').at(-1));
      const { iteration, tensors } = await loadCheckpoint(await resolveCheckpoint(folder));
      expect(iteration).toBeGreaterThanOrEqual(reported);
      expect(new Float32Array(tensors[0]!.data.buffer).every((value) => value === iteration)).toBe(true);
      expect((await listCheckpoints(folder)).length).toBeLessThanOrEqual(3);
      await rm(folder, { recursive: true });
    }
  });

  test('a save that finds no space leaves the old checkpoint and no temporary', async () => {
    const { path } = await save(7);
    // A limit on the size of a file refuses the write as a full disk does, without needing one.
    const child = saver(3_000_000, 'ulimit -f 4096; ');
    let output = '';
    child.stdout!.on('data', (chunk) => {
      output += chunk;
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(3);
    expect(output).toContain('ERR_CAPI_CHECKPOINT_WRITE');
    expect(output).toContain('earlier checkpoints are untouched');
    expect((await loadCheckpoint(await resolveCheckpoint(run))).path).toBe(path);
    expect(await readdir(folder)).toHaveLength(3);
  });
});
