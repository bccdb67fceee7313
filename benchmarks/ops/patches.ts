/** From pixels to patches, masks and rows of patches. */
import { randomFillSync } from 'node:crypto';
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { bytesOf, type Inputs, type OpCase } from './op_case.js';
import type { Shapes } from './shapes.js';

export function patchesCases(shapes: Shapes, dtypes: readonly ComputeDtype[]): OpCase[] {
  return [
    ...dtypes.flatMap((dtype) => [patchify(shapes, dtype), gather(shapes, dtype)]),
    masks(shapes),
    resizeCrop(shapes),
  ];
}

function patchify({ title, images, image, patch, positions }: Shapes, dtype: ComputeDtype): OpCase {
  const values = 3 * image ** 2;
  return {
    op: 'patchify',
    shape: `${title} normalise, flip, cut  [${images}, ${image}, ${image}, 3]`,
    dtype,
    flops: 0,
    bytes: images * values * (1 + bytesOf(dtype)),
    torch: `patchify:${images},${image},${patch}`,
    fusible: true,
    make: (inputs) => {
      const pixels = inputs.values(randomFillSync(new Uint8Array(images * values)), [images, values], 'u8');
      const flips = inputs.values(
        Uint8Array.from({ length: images }, (_, i) => i % 2),
        [1, images],
        'u8',
      );
      const out = inputs.empty([images * positions, 3 * patch ** 2], dtype);
      return {
        run: () => ops.patchify({ images: pixels, flips, out, height: image, width: image, patch }),
      };
    },
  };
}

function gather(shapes: Shapes, dtype: ComputeDtype): OpCase {
  const { title, images, positions, visible, patch } = shapes;
  const cols = 3 * patch ** 2;
  return {
    op: 'gather',
    shape: `${title} visible patches  [${images * visible} of ${images * positions}, ${cols}]`,
    dtype,
    flops: 0,
    bytes: 2 * bytesOf(dtype) * images * visible * cols,
    torch: `gather:${images * positions},${images * visible},${cols}`,
    make: (inputs) => {
      const x = inputs.random([images * positions, cols], dtype);
      const y = inputs.empty([images * visible, cols], dtype);
      const drawn = drawMasks(inputs, shapes);
      drawn.run();
      return { run: () => ops.gatherRows({ x, indices: drawn.visible, y }) };
    },
  };
}

function masks(shapes: Shapes): OpCase {
  const { title, images, grid, visible } = shapes;
  return {
    op: 'masks',
    shape: `${title} inverse block, rolled  ${images} of ${grid}×${grid}`,
    dtype: 'f32',
    flops: 0,
    bytes: 4 * images * visible,
    make: (inputs) => drawMasks(inputs, shapes),
  };
}

function drawMasks(inputs: Inputs, shapes: Shapes) {
  const { images, grid, visible, predicted, masked } = shapes;
  const samples = inputs.values(
    Int32Array.from({ length: 2 * images }, (_, i) => (i % 2 === 0 ? i / 2 : 0)),
    [images, 2],
    'i32',
  );
  const outputs = {
    visible: inputs.empty([1, images * visible], 'i32'),
    predict: inputs.empty([1, images * predicted], 'i32'),
  };
  const grids = { gridRows: grid, gridCols: grid, nMasked: masked };
  return {
    ...outputs,
    run: () => ops.generateMasks({ kind: 'inverse_block', ...grids, seed: 0, samples, ...outputs }),
  };
}

/** In the calling thread, as the loader's workers do it. */
function resizeCrop({ title, image: side }: Shapes): OpCase {
  const [boxHeight, boxWidth] = side < 64 ? [27, 28] : [300, 400];
  const [height, width] = [boxHeight + 5, boxWidth + 4];
  return {
    op: 'resize_crop',
    shape: `${title} one thread  ${boxHeight}×${boxWidth} → ${side}×${side}`,
    dtype: 'f32',
    flops: 0,
    bytes: 3 * (boxHeight * boxWidth + side ** 2),
    onHost: true,
    torch: `resize_crop:${boxHeight},${boxWidth},${side}`,
    make: () => {
      const image = randomFillSync(new Uint8Array(height * width * 3));
      const out = new Uint8Array(side * side * 3);
      const box = { top: 2, left: 1, boxHeight, boxWidth };
      const size = { height, width, outHeight: side, outWidth: side };
      return { run: () => ops.resizeCrop({ image, out, ...box, ...size }) };
    },
  };
}
