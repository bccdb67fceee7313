/** Norms and the residual stream: bound by memory. */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { bytesOf, type OpCase } from './op_case.js';
import type { Shapes } from './shapes.js';

export function normCases(shapes: Shapes, dtypes: readonly ComputeDtype[]): OpCase[] {
  return dtypes.flatMap((dtype) => [
    rmsForward(shapes, dtype),
    rmsBackward(shapes, dtype),
    l2Norm(shapes, dtype),
    weightNorm(shapes, dtype),
    residual(shapes, dtype),
  ]);
}

function rmsForward({ title, images, teacherTokens, width }: Shapes, dtype: ComputeDtype): OpCase {
  const rows = images * teacherTokens;
  return {
    op: 'rms_norm',
    shape: `${title} teacher forward  [${rows}, ${width}]`,
    dtype,
    flops: 0,
    bytes: 2 * bytesOf(dtype) * rows * width,
    torch: `rms_norm_forward:${rows},${width}`,
    fusible: true,
    make: (inputs) => {
      const x = inputs.random([rows, width], dtype);
      const weight = inputs.random([1, width], dtype);
      const y = inputs.empty([rows, width], dtype);
      return { run: () => ops.rmsNormForward({ x, weight, y, eps: 1e-5 }) };
    },
  };
}

/** Forward, and the backward pass that adds to the stream's gradient and makes the output again. */
function rmsBackward({ title, images, studentTokens, width }: Shapes, dtype: ComputeDtype): OpCase {
  const rows = images * studentTokens;
  return {
    op: 'rms_norm',
    shape: `${title} student forward + backward  [${rows}, ${width}]`,
    dtype,
    flops: 0,
    bytes: 7 * bytesOf(dtype) * rows * width,
    torch: `rms_norm:${rows},${width}`,
    fusible: true,
    make: (inputs) => {
      const matrix = () => inputs.random([rows, width], dtype);
      const forward = { x: matrix(), weight: inputs.random([1, width], dtype), y: matrix() };
      const rstd = inputs.empty([1, rows], 'f32');
      const gradients = { gradY: matrix(), gradX: matrix(), gradWeight: inputs.empty([1, width], 'f32') };
      return {
        run: () => {
          ops.rmsNormForward({ ...forward, rstd, eps: 1e-5 });
          ops.rmsNormBackward({ ...forward, rstd, ...gradients, accumulate: true });
        },
      };
    },
  };
}

function l2Norm({ title, images, positions, width }: Shapes, dtype: ComputeDtype): OpCase {
  const rows = images * positions;
  return {
    op: 'l2_norm',
    shape: `${title} features forward  [${rows}, ${width}]`,
    dtype,
    flops: 0,
    bytes: 2 * bytesOf(dtype) * rows * width,
    torch: `l2_norm:${rows},${width}`,
    fusible: true,
    make: (inputs) => {
      const x = inputs.random([rows, width], dtype);
      const y = inputs.empty([rows, width], dtype);
      return { run: () => ops.l2NormalizeForward({ x, y, eps: 1e-7 }) };
    },
  };
}

function weightNorm({ title, clusters, width }: Shapes, dtype: ComputeDtype): OpCase {
  return {
    op: 'weight_norm',
    shape: `${title} student head forward  [${clusters}, ${width}]`,
    dtype,
    flops: 0,
    bytes: (4 + bytesOf(dtype)) * clusters * width,
    torch: `weight_norm:${clusters},${width}`,
    fusible: true,
    make: (inputs) => {
      const v = inputs.random([clusters, width], 'f32', 0.02);
      const g = inputs.random([clusters, 1], 'f32');
      const weight = inputs.empty([clusters, width], dtype);
      return { run: () => ops.weightNormForward({ v, g, weight, eps: 1e-8 }) };
    },
  };
}

/** y = x + scale · branch on the images that drop path keeps. */
function residual({ title, images, kept, studentTokens: rows, width }: Shapes, dtype: ComputeDtype): OpCase {
  const size = rows * width;
  return {
    op: 'residual',
    shape: `${title} drop path scatter-add  [${kept} of ${images}·${rows}, ${width}]`,
    dtype,
    flops: 0,
    bytes: bytesOf(dtype) * size * (2 * images + kept),
    torch: `residual:${images},${kept},${rows},${width}`,
    fusible: true,
    make: (inputs) => {
      const x = inputs.random([images * rows, width], dtype);
      const y = inputs.empty([images * rows, width], dtype);
      const branch = inputs.random([kept * rows, width], dtype);
      const chosen = inputs.empty([1, kept], 'i32');
      const iteration = inputs.empty([1, 1], 'i32'); // zeroed
      ops.dropPathIndices({ indices: chosen, iteration, batch: images, seed: 0 });
      const scale = images / kept;
      return { run: () => ops.residualForward({ x, branch, y, images: chosen, rows, scale }) };
    },
  };
}
