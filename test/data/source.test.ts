import { mkdirSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expandBraces } from '../../lib/data/brace_expansion.js';
import type { ImageSource, RgbImage } from '../../lib/data/image_source.js';
import { parsePythonLiteral } from '../../lib/data/python_literal.js';
import { openSource, reopenSource } from '../../lib/data/source.js';
import { mostOpenShards } from '../../lib/data/webdataset.js';
import { idxFile, openBelow, TemporaryFolder, tarFile, testPixels } from '../support/images.js';

const dataError = (pattern: RegExp) =>
  expect.objectContaining({ code: 'ERR_CAPI_DATA', message: expect.stringMatching(pattern) });

const names = (source: ImageSource) => Array.from({ length: source.length }, (_, i) => source.describe(i));

async function stored(source: ImageSource, index: number): Promise<string> {
  const image = await source.read(index);
  return 'encoded' in image ? Buffer.from(image.encoded).toString() : 'pixels';
}

describe('a folder of images', () => {
  test('is read at any depth, sorted, with first-level folders as classes', async () => {
    using folder = new TemporaryFolder();
    for (const name of [
      'b/2.JPG',
      'b/deep/er/1.png',
      'a/z.webp',
      'a/y.jpeg',
      'top.gif',
      'b/notes.txt',
      'a/._y.jpeg',
    ]) {
      folder.write(name, name);
    }
    const source = openSource(folder.path);
    const expected = ['top.gif', 'a/y.jpeg', 'a/z.webp', 'b/2.JPG', 'b/deep/er/1.png'];
    expect(names(source)).toEqual(expected.map((name) => join(folder.path, name)));
    expect(source.classes).toEqual(['a', 'b']);
    expect(expected.map((_, i) => source.label(i))).toEqual([undefined, 0, 0, 1, 1]);
    expect(await stored(source, 3)).toBe('b/2.JPG');
    const again = reopenSource(structuredClone(source.descriptor));
    expect(names(again)).toEqual(names(source));
    expect(await stored(again, 4)).toBe('b/deep/er/1.png');
  });

  test('follows links once, so that a circle of them ends', () => {
    using folder = new TemporaryFolder();
    folder.write('a/1.png', '');
    symlinkSync(folder.path, join(folder.path, 'a', 'loop'));
    symlinkSync(join(folder.path, 'nowhere'), join(folder.path, 'dead.png'));
    expect(openSource(folder.path).length).toBe(1);
  });

  test.each([
    ['folder://', (path: string) => `folder://${path}`],
    ['torchvision://', (path: string) => `torchvision://ImageFolder?root='${path}'`],
  ])('opens as %s', (_, address) => {
    using folder = new TemporaryFolder();
    folder.write('cat/ä.png', '');
    expect(names(openSource(address(folder.path)))).toEqual([join(folder.path, 'cat/ä.png')]);
  });

  test('that is missing or has no images is an error that names it', () => {
    using folder = new TemporaryFolder();
    folder.write('readme.txt', 'x');
    expect(() => openSource(folder.path)).toThrow(
      dataError(/Expected images .* in the folder .*capi-data-.* received none/),
    );
    expect(() => openSource(join(folder.path, 'missing'))).toThrow(
      dataError(
        /^Expected a folder of images or an IDX file at \S+missing but there is nothing: check the path\.$/,
      ),
    );
    expect(() => openSource("torchvision://ImageFolder?root='/no/such/folder'")).toThrow(
      dataError(/no\/such\/folder/),
    );
  });
});

describe('IDX files', () => {
  const pixels = testPixels(3, 4).subarray(0, 24); // two images of 3 × 4

  test.each([
    ['plain', (bytes: Buffer) => bytes, ''],
    ['gzipped', (bytes: Buffer) => gzipSync(bytes), '.gz'],
  ])('%s are read with the labels beside them', async (_, pack, ending) => {
    using folder = new TemporaryFolder();
    const path = folder.write(`train-images-idx3-ubyte${ending}`, pack(idxFile([2, 3, 4], pixels)));
    folder.write(`train-labels-idx1-ubyte${ending}`, pack(idxFile([2], Uint8Array.of(7, 1))));
    for (const address of [path, folder.path, `idx://${path}?pad=2`]) {
      const pad = address.endsWith('pad=2') ? 2 : 0;
      const source = openSource(address);
      expect([source.length, source.label(0), source.label(1), source.classes.length]).toEqual([2, 7, 1, 8]);
      const image = source.read(1) as RgbImage;
      expect([image.height, image.width]).toEqual([3 + 2 * pad, 4 + 2 * pad]);
      const at = ((pad + 2) * image.width + pad + 1) * 3;
      expect([...image.pixels.subarray(at, at + 3)]).toEqual(new Array(3).fill(pixels[12 + 9]));
      if (pad > 0)
        expect([...image.pixels.subarray(0, image.width * 6)].every((value) => value === 0)).toBe(true);
    }
  });

  test('hold colour images too', () => {
    using folder = new TemporaryFolder();
    const source = openSource(folder.write('images-idx4-ubyte', idxFile([2, 2, 2, 3], pixels)));
    expect((source.read(1) as RgbImage).pixels).toEqual(pixels.subarray(12));
  });

  test('that are truncated, empty, something else or without images are errors', () => {
    using folder = new TemporaryFolder();
    const whole = idxFile([2, 3, 4], pixels);
    const open = (name: string, bytes: Uint8Array) => () => openSource(folder.write(name, bytes));
    expect(open('short', whole.subarray(0, 30))).toThrow(
      dataError(/Expected 24 bytes .* received 14 .*truncated/),
    );
    expect(open('empty', new Uint8Array(0))).toThrow(dataError(/an empty file/));
    expect(open('other', Buffer.from('hello'))).toThrow(dataError(/Expected an IDX file/));
    expect(open('labels', idxFile([24], pixels))).toThrow(dataError(/not the labels/));
    expect(open('none', idxFile([0, 3, 4], new Uint8Array(0)))).toThrow(dataError(/at least one image/));
    expect(open('broken.gz', gzipSync(whole).subarray(0, 20))).toThrow(dataError(/cannot be read/));
    folder.write('x-labels-idx1-ubyte', idxFile([3], new Uint8Array(3)));
    expect(open('x-images-idx3-ubyte', whole)).toThrow(dataError(/Expected 2 labels/));
  });
});

describe('WebDataset shards', () => {
  const long = `${'deep/'.repeat(30)}c.png`;
  const shard = (from: number) =>
    tarFile([
      { name: `s/${from}.jpg`, content: `image ${from}` },
      { name: `s/${from}.cls`, content: '4\n' },
      { name: `s/${from}.json`, content: '{}' },
      { name: `s/${from + 1}.cls`, content: '2' },
      { name: `s/${from + 1}.seg.png`, content: `image ${from + 1}` },
      { name: long, content: `image ${from + 2}` },
      { name: 'only.txt', content: 'x' },
    ]);

  test('are indexed once and read by offset', async () => {
    using folder = new TemporaryFolder();
    folder.write('train-000.tar', shard(0));
    folder.write('train-001.tar', shard(3));
    const pattern = join(folder.path, 'train-{000..001}.tar');
    for (const address of [pattern, `wds://${pattern}`]) {
      const source = openSource(address);
      expect(source.length).toBe(6);
      expect(Array.from({ length: 6 }, (_, i) => source.label(i))).toEqual([
        4,
        2,
        undefined,
        4,
        2,
        undefined,
      ]);
      const again = reopenSource(structuredClone(source.descriptor));
      for (const i of [5, 0, 4, 2, 1, 3]) expect(await stored(again, i)).toBe(`image ${i}`);
      expect(again.describe(5)).toBe(`${join(folder.path, 'train-001.tar')}, ${long}`);
      await again.close();
    }
  });

  test('more than may be open at once are read right, and no more than that are open', async () => {
    using folder = new TemporaryFolder();
    const last = mostOpenShards + 9;
    for (let i = 0; i <= last; i++) {
      folder.write(
        `${i}.tar`,
        tarFile([`${i} a`, `${i} b`].map((name) => ({ name: `${name}.png`, content: name }))),
      );
    }
    const source = openSource(join(folder.path, `{0..${last}}.tar`));
    const count = 2 * (last + 1);
    let most = 0;
    // In an order that hits shards in use, open ones and closed ones.
    const order = Array.from({ length: 2 * count }, (_, i) => (17 * i) % count).flatMap((i) => [i, i ^ 1]);
    for (let first = 0; first < order.length; first += 5) {
      const five = order.slice(first, first + 5);
      const reading = five.map((index) => stored(source, index));
      most = Math.max(most, openBelow(folder.path));
      expect(await Promise.all(reading)).toEqual(five.map((i) => `${Math.floor(i / 2)} ${'ab'[i % 2]}`));
      most = Math.max(most, openBelow(folder.path));
    }
    expect(most).toBe(mostOpenShards);
    await source.close();
    expect(openBelow(folder.path)).toBe(0);
  });

  test('that end early make bad images, and those that vanish or cannot be read stop the work', async () => {
    using folder = new TemporaryFolder();
    const path = folder.write('0.tar', shard(0));
    const source = openSource(path);
    truncateSync(path, 512 + 3);
    await expect(source.read(0)).rejects.toEqual(dataError(/0\.tar, s\/0\.jpg .*ends after 3 of 7 bytes/));
    const again = openSource(folder.write('1.tar', shard(0)));
    rmSync(join(folder.path, '1.tar'));
    await expect(again.read(0)).rejects.toMatchObject({
      code: 'ERR_CAPI_SYSTEM',
      message: expect.stringMatching(/1\.tar, s\/0\.jpg .*ENOENT.*Put the shard back/),
    });
    mkdirSync(join(folder.path, '1.tar'));
    await expect(again.read(0)).rejects.toMatchObject({
      code: 'ERR_CAPI_SYSTEM',
      message: expect.stringMatching(/1\.tar, s\/0\.jpg .*EISDIR/),
    });
    for (const each of [source, again]) await each.close();
    await expect(source.read(0)).rejects.toMatchObject({ code: 'ERR_CAPI_DISPOSED' });
  });

  test('that are missing, truncated, gzipped, corrupt or without images are errors that name the shard', () => {
    using folder = new TemporaryFolder();
    const open = (name: string, bytes: Uint8Array) => () => openSource(folder.write(name, bytes));
    expect(() => openSource(join(folder.path, '{0..3}.tar'))).toThrow(
      dataError(/0\.tar but it cannot be opened/),
    );
    expect(open('short.tar', shard(0).subarray(0, 700))).toThrow(dataError(/short\.tar ends within/));
    expect(open('cut.tar', shard(0).subarray(0, 512))).toThrow(dataError(/cut\.tar ends after 0.*truncated/));
    expect(open('zip.tar', gzipSync(shard(0)))).toThrow(dataError(/gunzip/));
    expect(open('x.tar.gz', gzipSync(shard(0)))).toThrow(dataError(/gunzip/));
    expect(open('noise.tar', testPixels(40, 40))).toThrow(dataError(/checksum/));
    expect(open('empty.tar', new Uint8Array(0))).toThrow(dataError(/empty file/));
    expect(open('negative.tar', withNegativeSize(shard(0)))).toThrow(dataError(/size .* byte 0 .*-512/));
    expect(open('text.tar', tarFile([{ name: 'a.txt', content: 'x' }]))).toThrow(
      dataError(/Expected images/),
    );
  });
});

describe('addresses', () => {
  test('that cannot be read here say what to do instead', () => {
    expect(() =>
      openSource("hf://timm/imagenet-22k-wds?streaming=True&split='train'&img_field='jpg'"),
    ).toThrow(dataError(/Hugging Face.*WebDataset shards/));
    expect(() => openSource("custom://ADE20K?split='training'")).toThrow(dataError(/folder of images/));
    expect(() => openSource("torchvision://CIFAR10?root='/tmp'")).toThrow(
      dataError(/torchvision:\/\/ImageFolder/),
    );
    expect(() => openSource('torchvision://ImageFolder?root=/tmp')).toThrow(dataError(/Python literal/));
    expect(() => openSource('torchvision://ImageFolder')).toThrow(dataError(/root=/));
    expect(() => openSource('s3://bucket')).toThrow(dataError(/but received s3/));
    expect(() => openSource('idx:///tmp?pads=2')).toThrow(dataError(/only pad, split but received pads/));
    expect(() => openSource('')).toThrow(expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }));
  });

  test('expand braces with padding, lists and several groups', () => {
    expect(expandBraces('a{008..011}b')).toEqual(['a008b', 'a009b', 'a010b', 'a011b']);
    expect(expandBraces('{8..11}')).toEqual(['8', '9', '10', '11']);
    expect(expandBraces('{0..10}')).toEqual(Array.from({ length: 11 }, (_, i) => String(i)));
    expect(expandBraces('{2..0}{x,y}')).toEqual(['2x', '2y', '1x', '1y', '0x', '0y']);
    expect(expandBraces('plain')).toEqual(['plain']);
    expect(expandBraces('{odd}')).toEqual(['{odd}']);
  });

  test('take Python literals', () => {
    expect(
      ["'a b'", '"it\'s"', "'it\\'s'", '3', '-1.5', 'True', 'False', 'None'].map(parsePythonLiteral),
    ).toEqual(['a b', "it's", "it's", 3, -1.5, true, false, null]);
    expect(['text', "'open", 'true', "'a'b'", '[1]'].map(parsePythonLiteral)).toEqual(
      new Array(5).fill(undefined),
    );
  });
});

/** The first member's size becomes -512, under a right checksum. */
function withNegativeSize(archive: Buffer): Buffer {
  const bytes = Buffer.from(archive);
  bytes.write('-0000001000 ', 124);
  bytes.fill(0x20, 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return bytes;
}
