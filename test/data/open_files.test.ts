import { OpenFiles, type ReadableFile } from '../../lib/data/open_files.js';
import { openSource } from '../../lib/data/source.js';
import { WebDataset } from '../../lib/data/webdataset.js';
import { TemporaryFolder, tarFile } from '../support/images.js';

/** Opens files that hold nothing, and remembers what happened. */
class Recorder {
  readonly events: string[] = [];
  open = 0;
  most = 0;

  readonly opener = async (path: string): Promise<ReadableFile> => {
    this.events.push(`open ${path}`);
    this.open += 1;
    this.most = Math.max(this.most, this.open);
    await turn();
    if (path === 'broken') {
      this.open -= 1;
      throw new Error('cannot open');
    }
    const close = async () => {
      await turn();
      this.open -= 1;
      this.events.push(`close ${path}`);
    };
    return { close, read: () => Promise.reject(new Error('not here')) } as ReadableFile;
  };
}

const turn = () => new Promise<void>((resume) => setImmediate(resume));
const nothing = async () => {};

test('a file stays open until others were used more recently', async () => {
  const recorder = new Recorder();
  const files = new OpenFiles(2, recorder.opener);
  for (const path of ['a', 'b', 'a', 'c', 'a']) await files.use(path, nothing);
  expect(recorder.events).toEqual(['open a', 'open b', 'close b', 'open c']);
  await files.close();
  expect(recorder.open).toBe(0);
});

test('a file in use is not closed, and another waits until there is room', async () => {
  const recorder = new Recorder();
  const files = new OpenFiles(1, recorder.opener);
  let finish = () => {};
  const long = files.use('a', async () => {
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    recorder.events.push('used a');
  });
  const other = files.use('b', nothing);
  for (let i = 0; i < 5; i++) await turn();
  expect(recorder.events).toEqual(['open a']);
  finish();
  await Promise.all([long, other]);
  expect(recorder.events).toEqual(['open a', 'used a', 'close a', 'open b']);
});

test('closing waits for the uses under way, and refuses those that come after', async () => {
  const recorder = new Recorder();
  const files = new OpenFiles(2, recorder.opener);
  let used = false;
  const using = files.use('a', async () => {
    await turn();
    used = true;
  });
  const waiting = [files.use('b', nothing), files.close()];
  await expect(files.use('a', nothing)).rejects.toMatchObject({ code: 'ERR_CAPI_DISPOSED' });
  await Promise.all([using, ...waiting]);
  expect([used, recorder.open]).toEqual([true, 0]);
  await files.close();
});

test('a file that cannot be opened is tried anew and takes no room', async () => {
  const recorder = new Recorder();
  const files = new OpenFiles(1, recorder.opener);
  const failing = ['broken', 'broken'].map((path) => files.use(path, nothing));
  for (const use of failing) await expect(use).rejects.toThrow('cannot open');
  await expect(files.use('broken', nothing)).rejects.toThrow('cannot open');
  await files.use('a', nothing);
  expect(recorder.open).toBe(1);
  await files.close();
});

test('many uses at once never have more open than allowed, and all are served', async () => {
  const recorder = new Recorder();
  const files = new OpenFiles(3, recorder.opener);
  let served = 0;
  const uses = Array.from({ length: 200 }, (_, i) =>
    files.use(`file ${(i * i) % 11}`, async () => {
      if (i % 3 === 0) await turn();
      served += 1;
    }),
  );
  await Promise.all(uses);
  expect([served, recorder.most]).toEqual([200, 3]);
  await files.close();
  expect(recorder.open).toBe(0);
});

test('reads that return little at a time are continued until the image is whole or the file ends', async () => {
  using folder = new TemporaryFolder();
  const address = folder.write('0.tar', tarFile([{ name: 'a.png', content: 'a whole image' }]));
  await using source = openSource(address);
  const archive = tarFile([{ name: 'a.png', content: 'a whole image' }]);
  const short = (length: number) =>
    new OpenFiles(1, async () => {
      const read = async (into: Uint8Array, at: number, wanted: number, position: number) => {
        const bytes = archive.subarray(position, Math.min(position + Math.min(wanted, 3), length));
        into.set(bytes, at);
        return { bytesRead: bytes.length, buffer: into };
      };
      return { read, close: async () => {} } as unknown as ReadableFile;
    });
  if (source.descriptor.kind !== 'shards') throw new Error('expected shards');
  await using whole = new WebDataset(source.descriptor, short(archive.length));
  const image = await whole.read(0);
  expect('encoded' in image && Buffer.from(image.encoded).toString()).toBe('a whole image');
  await using cut = new WebDataset(source.descriptor, short(512 + 7));
  await expect(cut.read(0)).rejects.toMatchObject({
    code: 'ERR_CAPI_DATA',
    message: expect.stringMatching(/a\.png .*ends after 7 of 13 bytes/),
  });
});
