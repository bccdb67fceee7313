/** Decoding, crop and resize, normalisation and mirror, from the stored file to the network's pixels. */
import { decodeImage } from '../../../lib/data/decode.js';
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { type Checks, largestError } from '../report.js';
import { jpegLevels } from '../tolerances.js';
import { Workspace } from '../workspace.js';

export async function checkCrops(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name] of file.cases()) {
    const [height, width] = file.shape(`${name}.rgb`) as [number, number, number];
    const rgb = file.values(`${name}.rgb`) as Uint8Array;
    const encoded = file.values(`${name}.encoded`) as Uint8Array;
    const decoded = await decodeImage({ encoded }, name);
    const jpeg = encoded[0] === 0xff && encoded[1] === 0xd8;
    const sameSize = decoded.height === height && decoded.width === width;
    checks.holds(name, 'encoded', sameSize, 'size of the decoded image');
    const tolerance = jpeg ? jpegLevels : 0;
    checks.tensor(name, 'rgb', decoded.pixels, { tolerance, note: 'decoded; grey levels' });
    const boxes = file.values(`${name}.boxes`);
    for (let j = 0; 4 * j < boxes.length; j++) {
      const [top, left, boxHeight, boxWidth] = [...boxes.subarray(4 * j, 4 * j + 4)] as [
        number,
        number,
        number,
        number,
      ];
      const resized = `resized${j}`;
      const [outHeight, outWidth] = file.shape(`${name}.${resized}`) as [number, number, number];
      const out = new Uint8Array(outHeight * outWidth * 3);
      const box = { top, left, boxHeight, boxWidth };
      ops.resizeCrop({ image: rgb, height, width, ...box, out, outHeight, outWidth });
      checks.tensor(name, resized, out, { tolerance: 0, note: 'grey levels' });
      await checkPixels(file, checks, { name, j, pixels: out, height: outHeight, width: outWidth });
    }
  }
}

/** Normalised pixels and the mirror, where the file has them. */
async function checkPixels(
  file: GoldenFile,
  checks: Checks,
  crop: { name: string; j: number; pixels: Uint8Array; height: number; width: number },
): Promise<void> {
  const { name, j, pixels, height, width } = crop;
  const normalized = `normalized${j}`;
  const mirrored = `resized_flip${j}`;
  if (file.has(`${name}.${normalized}`)) {
    // One patch as large as the image: its columns are the image, channel by channel.
    checks.tensor(name, normalized, await patchify(file, pixels, { height, width, flip: false }));
  }
  if (file.has(`${name}.${mirrored}`)) {
    const golden = file.values(`${name}.${mirrored}`) as Uint8Array;
    const expected = await patchify(file, golden, { height, width, flip: false });
    const ours = await patchify(file, pixels, { height, width, flip: true });
    checks.most(name, mirrored, largestError(ours, expected), 0, 'mirrored by patchify; normalised');
  }
}

async function patchify(
  file: GoldenFile,
  pixels: Uint8Array,
  { height, width, flip }: { height: number; width: number; flip: boolean },
): Promise<ArrayLike<number>> {
  if (height !== width) throw new Error('expected square crops');
  using space = new Workspace(file);
  const images = space.from(pixels, [1, pixels.length], 'u8');
  const flips = space.from([flip ? 1 : 0], [1, 1], 'u8');
  const out = space.output([1, pixels.length]);
  ops.patchify({ images, flips, out, height, width, patch: height });
  return out.readFloats();
}
