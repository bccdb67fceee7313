import { createHash } from 'node:crypto';
import { ops } from '../../lib/tensor/ops.js';
import { testPixels } from '../support/images.js';

type Pair = [number, number];
type Box = [number, number, number, number];

function resized([height, width]: Pair, [top, left, boxHeight, boxWidth]: Box, [outHeight, outWidth]: Pair) {
  const image = testPixels(height, width);
  const out = new Uint8Array(outHeight * outWidth * 3).fill(77);
  ops.resizeCrop({ image, height, width, top, left, boxHeight, boxWidth, out, outHeight, outWidth });
  return out;
}

describe('resizeCrop', () => {
  // The right column: SHA-256 of what Pillow 12.3's crop().resize(…, BICUBIC) makes of the same pixels.
  test.each<[Pair, Box, Pair, string]>([
    [[97, 53], [0, 0, 97, 53], [32, 32], '8bd2d9b5376f10e0'],
    [[28, 28], [2, 3, 24, 25], [32, 32], 'e2f3eb34ad8a29dc'],
    [[64, 80], [10, 5, 33, 70], [56, 56], '9d87ab22d6699da6'],
    [[30, 40], [4, 6, 20, 17], [20, 17], '8692d4e6cf11f878'],
    [[50, 60], [1, 2, 40, 56], [40, 56], 'dec2c2310fd94695'],
    [[45, 61], [3, 0, 40, 61], [7, 61], '50e74808a329f7f3'],
    [[5, 7], [1, 1, 1, 1], [9, 9], '3fd825ea92b71270'],
    [[300, 451], [20, 30, 250, 400], [224, 224], '7f868884fc1fec26'],
  ])('gives the bytes of Pillow for %j, box %j, to %j', (size, box, out, hash) => {
    expect(
      createHash('sha256')
        .update(resized(size, box, out))
        .digest('hex')
        .slice(0, 16),
    ).toBe(hash);
  });

  test('reads nothing outside the box', () => {
    const image = testPixels(20, 20);
    const options = {
      height: 20,
      width: 20,
      top: 5,
      left: 6,
      boxHeight: 9,
      boxWidth: 8,
      outHeight: 13,
      outWidth: 13,
    };
    const [first, second] = [new Uint8Array(13 * 13 * 3), new Uint8Array(13 * 13 * 3)];
    ops.resizeCrop({ ...options, image, out: first });
    for (let y = 0; y < 20; y++) {
      for (let x = 0; x < 20; x++) {
        if (y < 5 || y >= 14 || x < 6 || x >= 14)
          image.fill(255 - image[0]!, (y * 20 + x) * 3, (y * 20 + x) * 3 + 3);
      }
    }
    ops.resizeCrop({ ...options, image, out: second });
    expect(second).toEqual(first);
  });

  test('works on shared memory and leaves what lies beside the output alone', () => {
    const image = new Uint8Array(new SharedArrayBuffer(300)).fill(200);
    const whole = new Uint8Array(new SharedArrayBuffer(4 * 4 * 3 + 20)).fill(7);
    const out = whole.subarray(10, 58);
    ops.resizeCrop({
      image,
      height: 10,
      width: 10,
      top: 0,
      left: 0,
      boxHeight: 10,
      boxWidth: 10,
      out,
      outHeight: 4,
      outWidth: 4,
    });
    expect([...out].every((value) => value === 200)).toBe(true);
    expect([...whole.subarray(0, 10), ...whole.subarray(58)].every((value) => value === 7)).toBe(true);
  });

  test('refuses a box outside the image and arrays of another size', () => {
    expect(() => resized([10, 10], [5, 0, 6, 10], [4, 4])).toThrow(
      /\[resize_crop\] Expected a box inside the image/,
    );
    expect(() => resized([10, 10], [0, 0, 0, 10], [4, 4])).toThrow(/Expected a box/);
    const sizes = {
      height: 10,
      width: 10,
      top: 0,
      left: 0,
      boxHeight: 10,
      boxWidth: 10,
      outHeight: 4,
      outWidth: 4,
    };
    const image = new Uint8Array(299);
    expect(() => ops.resizeCrop({ ...sizes, image, out: new Uint8Array(48) })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
    expect(() =>
      ops.resizeCrop({
        ...sizes,
        image: new Float32Array(300) as unknown as Uint8Array,
        out: new Uint8Array(48),
      }),
    ).toThrow(expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }));
  });
});
