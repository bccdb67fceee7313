/** A state file that cannot be read for a moment says nothing of its tensors: they are left alone. */
import * as fileSystem from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { jest } from '@jest/globals';

/** The reads of `name` so far; number `failing` of them fails. */
let name: string;
let reads: number;
let failing: number;

jest.unstable_mockModule('node:fs/promises', () => ({
  ...fileSystem,
  readFile: async (path: string, encoding: BufferEncoding) => {
    if (basename(path) === name && ++reads === failing) {
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
    }
    return fileSystem.readFile(path, encoding);
  },
}));
const { listCheckpoints, loadCheckpoint, saveCheckpoint } = await import(
  '../../lib/checkpoint/checkpoint.js'
);

test.each([1, 2, 3, 4])(
  'when read %d of it in a save fails, every checkpoint stays sound',
  async (number) => {
    const folder = await fileSystem.mkdtemp(join(tmpdir(), 'capi-unreadable-'));
    const save = (iteration: number) => {
      const data = new Uint8Array(new Float32Array(4).fill(iteration).buffer);
      const state = { iteration, config: {}, counters: {}, versions: {} };
      return saveCheckpoint(folder, state, [{ name: 'w', dtype: 'f32', shape: [4], data }], { keep: 3 });
    };
    try {
      for (const iteration of [1, 2]) await save(iteration);
      [name, reads, failing] = ['step_0000001.json', 0, number];
      await save(3);
      name = '';
      const found = await listCheckpoints(folder);
      expect(found.map(({ iteration }) => iteration)).toEqual([3, 2, 1]);
      for (const { path, iteration } of found)
        expect(await loadCheckpoint(path)).toMatchObject({ iteration });
    } finally {
      await fileSystem.rm(folder, { recursive: true });
    }
  },
);
