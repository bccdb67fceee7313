import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageLoader, type LoaderOptions } from '../../lib/data/loader.js';
import { firstSample, imageAt, positionOf } from '../../lib/data/sampler.js';
import { openSource } from '../../lib/data/source.js';
import { ops } from '../../lib/tensor/ops.js';
import { idxFile, systemFailure, TemporaryFolder, testPixels } from '../support/images.js';

const dataError = (pattern: RegExp) =>
  expect.objectContaining({ code: 'ERR_CAPI_DATA', message: expect.stringMatching(pattern) });

type Given = Omit<LoaderOptions, 'source' | 'batchSize' | 'imageSize' | 'seed'> & {
  readonly batchSize?: number;
  readonly imageSize?: number;
  readonly seed?: number;
};

function loaderOf(path: string, given: Given = {}): ImageLoader {
  return new ImageLoader({
    source: openSource(path),
    batchSize: 8,
    imageSize: 16,
    seed: 1,
    workers: 0,
    ...given,
  });
}

/** The bytes of the next `count` batches, as text. */
async function batches(loader: ImageLoader, count: number): Promise<string[]> {
  const result: string[] = [];
  for (let i = 0; i < count; i++) {
    const { iteration, images, flips, samples } = await loader.next();
    const parts = [images, flips, samples].map((array) =>
      Buffer.from(array.slice().buffer).toString('base64'),
    );
    result.push([iteration, ...parts].join(' '));
  }
  return result;
}

function writeIdx(folder: TemporaryFolder, count: number): string {
  const values = testPixels(count, 28 * 10).subarray(0, count * 28 * 28);
  const pixels = new Uint8Array(count * 28 * 28);
  for (let i = 0; i < pixels.length; i++) pixels[i] = values[i % values.length]!;
  return folder.write('train-images-idx3-ubyte', idxFile([count, 28, 28], pixels));
}

describe('ImageLoader', () => {
  test('delivers the same bytes with 0, 1, 2 and 3 workers, over several epochs', async () => {
    using folder = new TemporaryFolder();
    await folder.writeImages(20);
    const results: string[][] = [];
    for (const workers of [0, 1, 2, 3]) {
      await using loader = loaderOf(folder.path, { workers, prefetch: 1 + workers });
      results.push(await batches(loader, 6));
    }
    for (const other of results.slice(1)) expect(other).toEqual(results[0]);
    expect(new Set(results[0]).size).toBe(6);
  });

  test('starts at any iteration as if it had run from the beginning', async () => {
    using folder = new TemporaryFolder();
    const path = writeIdx(folder, 50);
    await using whole = loaderOf(path);
    await using resumed = loaderOf(path, { startIteration: 9 });
    expect((await batches(whole, 12)).slice(9)).toEqual(await batches(resumed, 3));
  });

  test('cuts the crop of each global sample number', async () => {
    using folder = new TemporaryFolder();
    const path = writeIdx(folder, 30);
    const source = openSource(path);
    await using loader = loaderOf(path, { seed: 5, startIteration: 2 });
    const batch = await loader.next();
    for (let row = 0; row < 8; row++) {
      const sample = 16 + row;
      expect([batch.samples[2 * row], batch.samples[2 * row + 1]]).toEqual([sample, 0]);
      const index = imageAt(positionOf(sample, 30), { seed: 5, length: 30 });
      const image = source.read(index);
      if (!('pixels' in image)) throw new Error('expected pixels');
      const box = ops.cropParameters({
        seed: 5,
        sample,
        height: 28,
        width: 28,
        minScale: 0.6,
        maxScale: 1,
        minAspect: 3 / 4,
        maxAspect: 4 / 3,
        flipProbability: 0.5,
      });
      const out = new Uint8Array(16 * 16 * 3);
      const { top, left } = box;
      const sizes = {
        height: 28,
        width: 28,
        boxHeight: box.height,
        boxWidth: box.width,
        outHeight: 16,
        outWidth: 16,
      };
      ops.resizeCrop({ image: image.pixels, top, left, out, ...sizes });
      expect(batch.images.slice(row * 768, (row + 1) * 768)).toEqual(out);
      expect(batch.flips[row]).toBe(box.flip ? 1 : 0);
    }
  });

  test('gives two ranks the halves of one rank’s batch', async () => {
    using folder = new TemporaryFolder();
    const path = writeIdx(folder, 40);
    await using one = loaderOf(path, { batchSize: 8 });
    await using first = loaderOf(path, { batchSize: 4, rank: 0, worldSize: 2 });
    await using second = loaderOf(path, { batchSize: 4, rank: 1, worldSize: 2 });
    for (let i = 0; i < 3; i++) {
      const [whole, left, right] = [await one.next(), await first.next(), await second.next()];
      expect(Buffer.concat([left.images, right.images]).equals(whole.images)).toBe(true);
    }
    expect(firstSample(3, 1, 2, 4)).toBe(28);
  });

  test('numbers samples beyond 32 bits', async () => {
    using folder = new TemporaryFolder();
    await using loader = loaderOf(writeIdx(folder, 20), { startIteration: 2 ** 30 });
    const { samples } = await loader.next();
    expect([samples[0], samples[1], samples[2]]).toEqual([0, 2, 1]);
  });

  test('shows every image once an epoch', () => {
    const seen = Array.from({ length: 24 }, (_, s) => imageAt(positionOf(s, 24), { seed: 3, length: 24 }));
    expect([...seen].sort((a, b) => a - b)).toEqual(seen.map((_, i) => i));
  });

  test('keeps a batch untouched until the next call', async () => {
    using folder = new TemporaryFolder();
    await using loader = loaderOf(writeIdx(folder, 60), { workers: 1, prefetch: 1 });
    for (let i = 0; i < 5; i++) {
      const { images } = await loader.next();
      const copy = images.slice();
      await new Promise((resume) => setTimeout(resume, 20));
      expect(Buffer.from(copy).equals(images)).toBe(true);
    }
  });

  test('says when the next batch is complete', async () => {
    using folder = new TemporaryFolder();
    await using loader = loaderOf(writeIdx(folder, 60), { workers: 1, prefetch: 1 });
    expect(loader.isReady).toBe(false); // no turn of the event loop yet
    await loader.next();
    while (!loader.isReady) await new Promise((resume) => setImmediate(resume));
    const turns: string[] = [];
    setImmediate(() => turns.push('another turn'));
    await loader.next().then(() => turns.push('batch'));
    expect(turns).toEqual(['batch']);
  });

  test('reports the share of time spent waiting', async () => {
    using folder = new TemporaryFolder();
    await using loader = loaderOf(writeIdx(folder, 60));
    await loader.next();
    await new Promise((resume) => setTimeout(resume, 100));
    await loader.next();
    const { waitShare, waitSeconds, totalSeconds, batches: count, imagesRead } = loader.stats;
    expect(totalSeconds).toBeGreaterThanOrEqual(0.09);
    expect(waitShare).toBeCloseTo(waitSeconds / totalSeconds, 2);
    expect(waitShare).toBeLessThan(0.9);
    expect([count, imagesRead]).toEqual([2, 16]);
  });
});

describe('bad images', () => {
  async function folderWithBad(count: number): Promise<TemporaryFolder> {
    const folder = new TemporaryFolder();
    await folder.writeImages(count);
    folder.write('a_empty.png', '');
    folder.write('b_noise.jpg', testPixels(10, 10));
    return folder;
  }

  test('are replaced, counted and named, alike with any number of workers', async () => {
    using folder = await folderWithBad(10);
    const results: unknown[] = [];
    for (const workers of [0, 2]) {
      const named: string[] = [];
      await using loader = loaderOf(folder.path, {
        workers,
        batchSize: 12,
        maxBadShare: 0.5,
        onBadImage: ({ reason }) => named.push(reason),
      });
      const bytes = await batches(loader, 3);
      results.push({ bytes, named, badReads: loader.stats.badReads });
      expect(named.length).toBe(2);
      expect(named.join()).toMatch(/a_empty\.png is empty/);
      expect(named.join()).toMatch(/Expected a JPEG.*b_noise\.jpg/);
      expect(loader.stats.badReads).toBeGreaterThanOrEqual(6);
      expect(loader.stats.badImages.length).toBe(2);
    }
    expect(results[1]).toEqual(results[0]);
  });

  test('that vanish after the scan are bad too', async () => {
    using folder = new TemporaryFolder();
    await folder.writeImages(9);
    const source = openSource(folder.path);
    writeFileSync(source.describe(0), '');
    rmSync(source.describe(1));
    await using loader = new ImageLoader({
      source,
      batchSize: 9,
      imageSize: 8,
      seed: 1,
      workers: 0,
      maxBadShare: 0.5,
    });
    await loader.next();
    expect(loader.stats.badImages.map((image) => image.index).sort()).toEqual([0, 1]);
  });

  test('above the allowed share stop the run, and every later call says so', async () => {
    using folder = await folderWithBad(10);
    await using loader = loaderOf(folder.path, { batchSize: 12, maxBadShare: 0.05 });
    const message = /Expected at most 5 % .*a_empty\.png.*raise data\.max_bad_share\.$/;
    await expect(loader.next()).rejects.toEqual(dataError(message));
    await expect(loader.next()).rejects.toEqual(dataError(message));
  });

  test.each([0, 1])('when there are no others stop the run at once (%i workers)', async (workers) => {
    using folder = new TemporaryFolder();
    for (let i = 0; i < 12; i++) folder.write(`${i}.jpg`, 'not an image');
    await using loader = loaderOf(folder.path, { workers, maxBadShare: 1 });
    await expect(loader.next()).rejects.toEqual(dataError(/12 in a row cannot be used/));
  });

  test('of too many pixels are skipped', async () => {
    using folder = new TemporaryFolder();
    await folder.writeImages(9);
    await using loader = loaderOf(folder.path, { pixelLimit: 100, maxBadShare: 1 });
    await expect(loader.next()).rejects.toEqual(dataError(/pixel limit/));
  });
});

describe('faults', () => {
  /** A folder's images, but reading image 3 fails. */
  function loaderFailing(folder: TemporaryFolder, failure: unknown, workers: number): ImageLoader {
    const source = openSource(folder.path);
    const read = source.read.bind(source);
    source.read = (index) => (index === 3 ? Promise.reject(failure) : read(index));
    return new ImageLoader({ source, batchSize: 9, imageSize: 8, seed: 1, workers, maxBadShare: 1 });
  }

  test.each([
    ['too many open files', systemFailure('EMFILE'), 'ERR_CAPI_SYSTEM'],
    ['a broken disk', systemFailure('EIO'), 'ERR_CAPI_SYSTEM'],
    ['a lost mount', systemFailure('ESTALE'), 'ERR_CAPI_SYSTEM'],
    ['no permission', systemFailure('EACCES'), 'ERR_CAPI_SYSTEM'],
    ['no memory', systemFailure('ENOMEM'), 'ERR_CAPI_OUT_OF_MEMORY'],
    ['a bug', new TypeError('x is not a function'), 'ERR_CAPI_INTERNAL'],
  ])('%s: stops the run by name, and is no bad image', async (_, failure, code) => {
    using folder = new TemporaryFolder();
    await folder.writeImages(9);
    await using loader = loaderFailing(folder, failure, 0);
    const expected = { code, message: expect.stringContaining(join(folder.path, '0003.png')) };
    await expect(loader.next()).rejects.toMatchObject(expected);
    await expect(loader.next()).rejects.toMatchObject({ message: expect.stringContaining(failure.message) });
    expect(loader.stats.badImages).toEqual([]);
  });

  test.each([0, 1])('a process without free file descriptors stops (%i workers)', async (workers) => {
    using folder = new TemporaryFolder();
    await folder.writeImages(9);
    const child = join('test', 'support', 'full_descriptors_child.ts');
    const node = [process.execPath, '--import', 'tsx', child, folder.path, String(workers)];
    const { stdout, stderr } = spawnSync('bash', ['-c', 'ulimit -n 256; exec "$@"', 'bash', ...node], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^ERR_CAPI_SYSTEM .*000\d\.png.*EMFILE.*ulimit -n.*; 0 bad images\n$/);
  });

  test.each([0, 2])('closing in the middle of a batch ends cleanly (%i workers)', async (workers) => {
    using folder = new TemporaryFolder();
    await folder.writeImages(40);
    const loader = loaderOf(folder.path, { workers, batchSize: 40, imageSize: 200, prefetch: 4 });
    const waiting = loader.next().then(
      () => 'delivered',
      (error) => error.code,
    );
    await loader.close();
    await loader.close();
    expect(['ERR_CAPI_DISPOSED', 'delivered']).toContain(await waiting);
    await expect(loader.next()).rejects.toMatchObject({ code: 'ERR_CAPI_DISPOSED' });
  });

  test('a worker that crashes is an error with its cause, not a hang', async () => {
    using folder = new TemporaryFolder();
    const source = openSource(writeIdx(folder, 20));
    // A source that the worker cannot reopen.
    const broken = { ...source, descriptor: { kind: 'folder' } as never, length: 20 };
    const loader = new ImageLoader({
      source: broken as never,
      batchSize: 4,
      imageSize: 8,
      seed: 1,
      workers: 2,
    });
    await expect(loader.next()).rejects.toMatchObject({
      code: 'ERR_CAPI_INTERNAL',
      message: expect.stringMatching(/data worker ended unexpectedly: .+/),
    });
    await loader.close();
  });

  test('a batch larger than the data, and options out of range, are refused', () => {
    using folder = new TemporaryFolder();
    const path = writeIdx(folder, 20);
    expect(() => loaderOf(path, { batchSize: 21 })).toThrow(
      dataError(/at most the 20 images .* received 21/),
    );
    expect(() => loaderOf(path, { batchSize: 11, worldSize: 2 })).toThrow(dataError(/each of 2 ranks/));
    const wrong: Given[] = [
      { batchSize: 0 },
      { imageSize: 1.5 },
      { workers: -1 },
      { seed: -1 },
      { prefetch: 0 },
      { rank: 1 },
      { cropScale: [0.9, 0.2] },
      { cropScale: [0, 1] },
      { cropAspect: [2, 1] },
      { flipProbability: 2 },
      { maxBadShare: Number.NaN },
    ];
    for (const options of wrong) {
      expect(() => loaderOf(path, options)).toThrow(
        expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
      );
    }
  });
});
