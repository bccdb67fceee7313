/** Every GEMM of a step: forward with its epilogue, gradient of the input, gradient of the weight. */

import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { bytesOf, type OpCase } from './op_case.js';
import type { Shapes } from './shapes.js';

/** A linear layer on `rows` rows: x [rows, input] · weight [output, input]ᵀ. */
interface Layer {
  readonly name: string;
  readonly rows: number;
  readonly input: number;
  readonly output: number;
  /** What the forward pass adds to the product; after `residual`'s layer stands GELU's gradient going back. */
  readonly epilogue?: 'gelu' | 'residual' | undefined;
  /** Only forward, or without the gradient of a constant input. */
  readonly passes: readonly Pass[];
}

type Pass = 'forward' | 'dX' | 'dW';

const all: readonly Pass[] = ['forward', 'dX', 'dW'];

export function gemmCases(shapes: Shapes, dtypes: readonly ComputeDtype[]): OpCase[] {
  return dtypes.flatMap((dtype) =>
    layers(shapes).flatMap((layer) => layer.passes.map((pass) => gemmCase(shapes, layer, pass, dtype))),
  );
}

function layers(shapes: Shapes): Layer[] {
  const { images, kept, width: D, clusters, patch, positions, visible, predicted } = shapes;
  const teacher = images * shapes.teacherTokens;
  const student = kept * shapes.studentTokens;
  const queries = kept * predicted;
  const context = images * shapes.studentTokens;
  const pixels = 3 * patch ** 2;
  const block = (name: string, rows: number, passes: readonly Pass[]): Layer[] => [
    { name: `${name} qkv`, rows, input: D, output: 3 * D, passes },
    { name: `${name} proj`, rows, input: D, output: D, passes },
    { name: `${name} fc1`, rows, input: D, output: 4 * D, epilogue: 'gelu', passes },
    { name: `${name} fc2`, rows, input: 4 * D, output: D, epilogue: 'residual', passes },
  ];
  return [
    { name: 'teacher patches', rows: images * positions, input: pixels, output: D, passes: ['forward'] },
    ...block('teacher', teacher, ['forward']),
    {
      name: 'clustering head',
      rows: images * positions,
      input: D,
      output: clusters,
      passes: ['forward', 'dW'],
    },
    { name: 'student patches', rows: images * visible, input: pixels, output: D, passes: ['forward', 'dW'] },
    ...block('student', student, all),
    { name: 'context k, v', rows: context, input: D, output: 2 * D * shapes.predictorDepth, passes: all },
    { name: 'predictor fc1', rows: queries, input: D, output: 4 * D, epilogue: 'gelu', passes: all },
    { name: 'predictor fc2', rows: queries, input: 4 * D, output: D, epilogue: 'residual', passes: all },
    { name: 'student head', rows: images * predicted, input: D, output: clusters, passes: all },
  ];
}

function gemmCase({ title }: Shapes, layer: Layer, pass: Pass, dtype: ComputeDtype): OpCase {
  const { name, rows, input, output } = layer;
  const form = { forward: 'NT', dX: 'NN', dW: 'TN' }[pass];
  const [m, n, k] = {
    forward: [rows, output, input] as const,
    dX: [rows, input, output] as const,
    dW: [output, input, rows] as const,
  }[pass];
  const fused = epilogueOf(layer, pass);
  const resultBytes = pass === 'dW' ? 4 : bytesOf(dtype);
  return {
    op: 'gemm',
    shape: `${title} ${name} ${pass}${fused ? ` + ${fused}` : ''}  ${m}×${n}×${k} ${form}`,
    dtype,
    flops: 2 * m * n * k,
    bytes: bytesOf(dtype) * (m * k + n * k + (fused ? m * n : 0)) + resultBytes * m * n,
    torch: `${{ forward: 'gemm', dX: 'gemm_dx', dW: 'gemm_dw' }[pass]}${fused ? `_${fused}` : ''}:${m},${n},${k}`,
    make: (inputs) => {
      const a = inputs.random(pass === 'dW' ? [k, m] : [m, k], dtype);
      const b = inputs.random(pass === 'forward' ? [n, k] : [k, n], dtype);
      const c = inputs.empty([m, n], pass === 'dW' ? 'f32' : dtype);
      const product = { a, b, c, transposeA: pass === 'dW', transposeB: pass === 'forward' };
      switch (fused) {
        case undefined:
          return { run: () => ops.gemm(product) };
        case 'residual': {
          const residual = inputs.random([m, n], dtype);
          return { run: () => ops.gemm({ ...product, residual }) };
        }
        case 'gelu': {
          const pre = layer.passes.includes('dX') ? inputs.empty([m, n], dtype) : undefined; // kept for training
          return { run: () => ops.gemm({ ...product, gelu: 'forward', pre }) };
        }
        case 'dgelu': {
          const fresh = inputs.random([m, n], dtype);
          const pre = inputs.empty([m, n], dtype);
          const restore = () => ops.copy({ x: fresh, y: pre });
          return { restore, run: () => ops.gemm({ ...product, gelu: 'backward', pre }) };
        }
      }
    },
  };
}

function epilogueOf({ epilogue }: Layer, pass: Pass): 'gelu' | 'residual' | 'dgelu' | undefined {
  if (pass === 'forward') return epilogue;
  return pass === 'dX' && epilogue === 'residual' ? 'dgelu' : undefined;
}
