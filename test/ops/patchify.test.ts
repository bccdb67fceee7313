import { ops } from '../../lib/tensor/ops.js';
import { testSameBytesAsCpu } from '../support/backends.js';
import { expectClose, maxError, roundToBf16 } from '../support/close.js';
import { testPixels } from '../support/images.js';
import { poisoned, testSameBytes } from '../support/outputs.js';
import { Tensor } from '../support/tensor.js';

const mean = [0.485, 0.456, 0.406];
const std = [0.229, 0.224, 0.225];

interface Sizes {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly patch: number;
}

function reference(
  images: Uint8Array,
  flips: readonly number[],
  { count, height, width, patch }: Sizes,
): Float64Array {
  const out: number[] = [];
  for (let b = 0; b < count; b++) {
    for (let row = 0; row < height / patch; row++) {
      for (let col = 0; col < width / patch; col++) {
        for (let c = 0; c < 3; c++) {
          for (let i = 0; i < patch * patch; i++) {
            const y = row * patch + Math.floor(i / patch);
            const x = col * patch + (i % patch);
            const from = flips[b] ? width - 1 - x : x;
            out.push((images[((b * height + y) * width + from) * 3 + c]! / 255 - mean[c]!) / std[c]!);
          }
        }
      }
    }
  }
  return Float64Array.from(out);
}

async function patchified(images: Uint8Array, flips: readonly number[], sizes: Sizes, dtype: 'f32' | 'bf16') {
  const { count, height, width, patch } = sizes;
  const rows = (count * height * width) / (patch * patch);
  using input = Tensor.from(images, [count, height * width * 3], 'u8');
  using mirrored = Tensor.from(flips, [1, count], 'u8');
  using out = Tensor.from(
    new Float32Array(count * height * width * 3).fill(Number.NaN),
    [rows, 3 * patch * patch],
    dtype,
  );
  ops.patchify({ images: input, flips: flips.length > 0 ? mirrored : undefined, out, height, width, patch });
  return out.readFloats();
}

describe('patchify', () => {
  test.each<Sizes>([
    { count: 3, height: 32, width: 32, patch: 4 },
    { count: 2, height: 28, width: 42, patch: 14 },
    { count: 1, height: 5, width: 3, patch: 1 },
    { count: 2, height: 7, width: 7, patch: 7 },
    // Longer than what fits in a block's shared memory, and nearly.
    { count: 2, height: 8, width: 2736, patch: 8 },
    { count: 2, height: 8, width: 2728, patch: 8 },
  ])('agrees with float64 on %j', async (sizes) => {
    const images = testPixels(sizes.count * sizes.height, sizes.width);
    const flips = [1, 0, 255].slice(0, sizes.count);
    const exact = reference(images, flips, sizes);
    expectClose(await patchified(images, flips, sizes, 'f32'), exact, { atol: 3e-7, rtol: 3e-7 });
    const bf16 = await patchified(images, flips, sizes, 'bf16');
    expect(maxError(bf16, exact)).toBeLessThanOrEqual(2 * maxError(roundToBf16(exact), exact));
  });

  test('mirrors nothing when flips are absent', async () => {
    const sizes = { count: 2, height: 8, width: 8, patch: 4 };
    const images = testPixels(16, 8);
    using input = Tensor.from(images, [2, 192], 'u8');
    using out = Tensor.zeros([8, 48], 'f32');
    ops.patchify({ images: input, out, height: 8, width: 8, patch: 4 });
    expectClose(await out.readFloats(), reference(images, [0, 0], sizes), { atol: 3e-7, rtol: 3e-7 });
  });

  testSameBytes(() => {
    const images = Tensor.from(testPixels(80, 16), [5, 16 * 16 * 3], 'u8');
    const flips = Tensor.from([1, 0, 0, 1, 1], [1, 5], 'u8');
    const out = poisoned([80, 48], 'f32');
    ops.patchify({ images, flips, out, height: 16, width: 16, patch: 4 });
    return [out, images, flips];
  });

  // Rows from the second on: of images that begin between two 16-byte boundaries, to outputs that do, too.
  testSameBytesAsCpu('in both dtypes, at any alignment', (make) =>
    (['f32', 'bf16'] as const).flatMap((dtype) =>
      [
        { height: 5, width: 15, patch: 5 },
        { height: 14, width: 28, patch: 14 },
      ].map(({ height, width, patch }) => {
        const length = height * width * 3;
        const images = make(testPixels(4 * height, width), [4, length], 'u8').rowRange(1, 4);
        const rows = width / patch;
        const out = make(new Float32Array(4 * length).fill(7), [4 * rows, length / rows], dtype);
        const flips = make([0, 1, 1], [1, 3], 'u8');
        ops.patchify({ images, flips, out: out.rowRange(rows, 4 * rows), height, width, patch });
        return out;
      }),
    ),
  );

  test('refuses sizes that do not fit', () => {
    using images = Tensor.zeros([2, 192], 'u8');
    using out = Tensor.zeros([8, 48], 'f32');
    using narrow = Tensor.zeros([8, 47], 'f32');
    using floats = Tensor.zeros([2, 192], 'f32');
    const sizes = { height: 8, width: 8, patch: 4 };
    expect(() => ops.patchify({ images, out, ...sizes, patch: 3 })).toThrow(/multiples of patch/);
    expect(() => ops.patchify({ images, out: narrow, ...sizes })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }),
    );
    expect(() => ops.patchify({ images: floats, out, ...sizes })).toThrow(
      expect.objectContaining({ code: 'ERR_CAPI_DTYPE_MISMATCH' }),
    );
  });
});
