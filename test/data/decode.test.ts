import sharp from 'sharp';
import { decodeImage } from '../../lib/data/decode.js';
import { encodeImage, type FileFormat, testPixels } from '../support/images.js';

const [height, width] = [24, 36];
const pixels = testPixels(height, width);
const decode = (encoded: Uint8Array) => decodeImage({ encoded }, 'folder/x.img');
const raw = (values: Uint8Array | Uint16Array, channels: 1 | 2 | 3 | 4) =>
  sharp(values, { raw: { height, width, channels } });
const dataError = (pattern: RegExp) =>
  expect.objectContaining({ code: 'ERR_CAPI_DATA', message: expect.stringMatching(pattern) });

function largestDifference(actual: Uint8Array, expected: Uint8Array): number {
  expect(actual.length).toBe(expected.length);
  return actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

describe('decodeImage', () => {
  test.each<FileFormat>(['png', 'tiff', 'jpeg', 'webp', 'avif', 'gif'])(
    'reads %s as height, width, RGB',
    async (format) => {
      const image = await decode(await encodeImage(pixels, height, width, format));
      expect([image.height, image.width, image.pixels.length]).toEqual([height, width, height * width * 3]);
      if (format === 'png') expect(largestDifference(image.pixels, pixels)).toBe(0);
    },
  );

  test('ignores the EXIF orientation of JPEG, PNG and WebP, and turns TIFF upright, as Pillow does', async () => {
    for (const format of ['jpeg', 'png', 'webp'] as const) {
      const turned = await decode(
        await raw(pixels, 3).withMetadata({ orientation: 6 }).toFormat(format).toBuffer(),
      );
      expect([turned.height, turned.width]).toEqual([height, width]);
    }
    const tiff = await decode(await raw(pixels, 3).withMetadata({ orientation: 6 }).tiff().toBuffer());
    expect([tiff.height, tiff.width]).toEqual([width, height]);
  });

  test('drops alpha without blending', async () => {
    const rgba = new Uint8Array(height * width * 4);
    for (let i = 0; i < height * width; i++) {
      rgba.set(pixels.subarray(3 * i, 3 * i + 3), 4 * i);
      rgba[4 * i + 3] = i & 255;
    }
    expect(largestDifference((await decode(await raw(rgba, 4).png().toBuffer())).pixels, pixels)).toBe(0);
  });

  test('replicates grey, with and without alpha', async () => {
    const grey = pixels.subarray(0, height * width);
    const expected = Uint8Array.from({ length: height * width * 3 }, (_, i) => grey[Math.floor(i / 3)]!);
    const plain = await raw(grey, 1).toColourspace('b-w').png().toBuffer();
    expect((await sharp(plain).metadata()).channels).toBe(1);
    expect(largestDifference((await decode(plain)).pixels, expected)).toBe(0);
    const pairs = Uint8Array.from({ length: height * width * 2 }, (_, i) => (i % 2 ? 90 : grey[i >> 1]!));
    const withAlpha = await raw(pairs, 2).toColourspace('b-w').png().toBuffer();
    expect(largestDifference((await decode(withAlpha)).pixels, expected)).toBe(0);
  });

  test('clips 16-bit grey at 255 and takes the high byte of 16-bit colour', async () => {
    const grey = Uint16Array.from({ length: height * width }, (_, i) => (i % 3 === 0 ? 70 * i : i % 256));
    const greyFile = await raw(grey, 1).toColourspace('grey16').png().toBuffer();
    expect(await sharp(greyFile).metadata()).toMatchObject({ depth: 'ushort', channels: 1 });
    const expected = Uint8Array.from({ length: height * width * 3 }, (_, i) =>
      Math.min(grey[Math.floor(i / 3)]!, 255),
    );
    expect(largestDifference((await decode(greyFile)).pixels, expected)).toBe(0);
    const colour = Uint16Array.from(pixels, (value, i) => value * 256 + (i % 256));
    const colourFile = await raw(colour, 3).toColourspace('rgb16').png().toBuffer();
    expect(await sharp(colourFile).metadata()).toMatchObject({ depth: 'ushort', channels: 3 });
    expect(largestDifference((await decode(colourFile)).pixels, pixels)).toBe(0);
  });

  test('converts CMYK without a profile', async () => {
    // 8 × 8, written by Pillow (inverted, with Adobe's marker); the expected values are Pillow's.
    const file = Buffer.from(
      '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFa' +
        'UGBKUVJP/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAAB' +
        'fQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hp' +
        'anN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5' +
        '+v/aAA4EQwBNAFkASwAAPwDR/wCFb/8AUX/8lv8A7Kug/wCE2/6h3/kf/wCxrsvEn/Lt/wAC/pW1/wAT7/hKv+oP/wBs/wC5/wB9fe/ziv/Z',
      'base64',
    );
    const image = await decode(file);
    const at = (y: number, x: number) => [...image.pixels.subarray((y * 8 + x) * 3, (y * 8 + x) * 3 + 3)];
    const expected = [46, 211, 209, 46, 211, 137, 211, 87, 209, 211, 87, 137, 7, 31, 30, 31, 13, 21];
    const actual = [at(0, 0), at(0, 7), at(7, 0), at(7, 7), at(3, 3), at(4, 4)].flat();
    expect(largestDifference(Uint8Array.from(actual), Uint8Array.from(expected))).toBeLessThanOrEqual(2);
  });

  test('takes the first frame of an animation', async () => {
    const flat = (grey: number) => new Uint8Array(height * width * 3).fill(grey);
    for (const format of ['gif', 'webp'] as const) {
      const frames = Buffer.concat([flat(250), flat(5)]);
      const file = await sharp(frames, {
        raw: { height: 2 * height, width, channels: 3, pageHeight: height },
      })
        .toFormat(format, { loop: 0 })
        .toBuffer();
      expect((await sharp(file).metadata()).pages).toBe(2);
      const image = await decode(file);
      expect([image.height, image.width]).toEqual([height, width]);
      expect(image.pixels[0]).toBeGreaterThan(240);
    }
  });

  test('refuses an empty, a foreign and a gigantic image by name', async () => {
    await expect(decode(new Uint8Array(0))).rejects.toEqual(dataError(/folder\/x\.img is empty/));
    await expect(decode(Buffer.from('<html></html>'))).rejects.toEqual(
      dataError(/Expected a JPEG.*folder\/x\.img/),
    );
    const png = await encodeImage(pixels, height, width, 'png');
    await expect(
      decodeImage({ encoded: png }, 'big.png', { pixelLimit: height * width - 1 }),
    ).rejects.toEqual(dataError(/big\.png.*pixel limit/));
    await expect(
      decodeImage({ encoded: png }, 'fits.png', { pixelLimit: height * width }),
    ).resolves.toBeDefined();
    // A header that promises 60 000 × 60 000 pixels.
    const bomb = Buffer.from(png);
    bomb.writeUInt32BE(60_000, 16);
    bomb.writeUInt32BE(60_000, 20);
    await expect(decode(bomb)).rejects.toEqual(dataError(/folder\/x\.img cannot be decoded as PNG/));
  });

  test('does not blame the image for a fault of the program', async () => {
    const png = await encodeImage(pixels, height, width, 'png');
    const fault = await decodeImage({ encoded: png }, 'x.png', { pixelLimit: -1 }).catch((error) => error);
    expect(fault).toBeInstanceOf(Error);
    expect(fault.code).toBeUndefined();
  });

  test.each<FileFormat>(['jpeg', 'png', 'webp', 'gif', 'tiff', 'avif'])(
    'refuses a truncated %s by name',
    async (format) => {
      const file = await encodeImage(pixels, height, width, format);
      for (const share of [0.05, 0.5, 0.9]) {
        await expect(decode(file.subarray(0, Math.ceil(file.length * share)))).rejects.toEqual(
          dataError(/folder\/x\.img/),
        );
      }
    },
  );

  test('refuses a corrupt JPEG, but not one with stray bytes between markers or after its end', async () => {
    const file = await encodeImage(testPixels(100, 150), 100, 150, 'jpeg');
    const corrupt = Buffer.from(file).fill(0xff, 3000, 3100);
    await expect(decode(corrupt)).rejects.toEqual(dataError(/cannot be decoded as JPEG: .*[Cc]orrupt/));
    const table = file.indexOf(Buffer.from([0xff, 0xc0]));
    const stray = Buffer.concat([
      file.subarray(0, table),
      Buffer.from([1, 2, 3]),
      file.subarray(table),
      Buffer.from('end'),
    ]);
    expect((await decode(stray)).pixels).toEqual((await decode(file)).pixels);
  });
});
