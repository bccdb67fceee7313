/** Projections and the attention op, put together as the attention branch does, without its norm and residual. */
import { ops } from '../../../lib/tensor/ops.js';
import type { Tensor } from '../../../lib/tensor/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly num_heads: number;
  readonly cross: boolean;
}

export async function checkAttention(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) await checkCase(file, checks, name, options);
}

async function checkCase(
  file: GoldenFile,
  checks: Checks,
  name: string,
  { num_heads: heads, cross }: Case,
): Promise<void> {
  using space = new Workspace(file);
  const [images, nQ, width] = file.shape(`${name}.in.x`) as [number, number, number];
  const contextShape = file.shape(cross ? `${name}.in.context` : `${name}.in.x`);
  const [, nK, contextWidth] = contextShape as [number, number, number];
  const [rows, contextRows] = [images * nQ, images * nK];
  const x = space.load(`${name}.in.x`, [rows, width]);
  const context = cross ? space.load(`${name}.in.context`, [contextRows, contextWidth]) : x;
  const qCoordinates = space.load(`${name}.in.coords`, [rows, 2]);
  const kCoordinates = cross ? space.load(`${name}.in.context_coords`, [contextRows, 2]) : qCoordinates;
  const weight = (which: string) => space.load(`${name}.param.${which}.weight`);
  const weights = { q: weight('q_proj'), k: weight('k_proj'), v: weight('v_proj'), out: weight('proj') };
  const frequencies = space.load(`${name}.param.rope.freqs`);

  const project = (a: Tensor, b: Tensor) => {
    const c = space.output([a.rows, b.rows]);
    ops.gemm({ a, b, transposeB: true, c });
    return c;
  };
  const [q, k, v] = [project(x, weights.q), project(context, weights.k), project(context, weights.v)];
  const out = space.output([rows, width]);
  const lse = space.output([images * heads, nQ]);
  const shared = {
    q,
    k,
    v,
    qCoordinates,
    kCoordinates,
    frequencies,
    heads,
    nQ,
    nK,
    rope: 'coupled',
  } as const;
  ops.attentionForward({ ...shared, out, lse });
  checks.tensor(name, 'out.y', await project(out, weights.out).readFloats());

  const gradY = space.load(`${name}.cot.y`, [rows, width]);
  const weightGradient = async (which: string, grad: Tensor, input: Tensor) => {
    const c = space.output([grad.cols, input.cols]);
    ops.gemm({ a: grad, b: input, transposeA: true, c });
    checks.tensor(name, `grad.param.${which}.weight`, await c.readFloats());
  };
  await weightGradient('proj', gradY, out);
  const gradOut = space.output([rows, width]);
  ops.gemm({ a: gradY, b: weights.out, c: gradOut });
  // In place, as in training.
  const gradFrequencies = space.output(file.shape(`${name}.param.rope.freqs`));
  ops.attentionBackward({ ...shared, out, lse, gradOut, gradQ: q, gradK: k, gradV: v, gradFrequencies });
  checks.tensor(name, 'grad.param.rope.freqs', await gradFrequencies.readFloats());
  await weightGradient('q_proj', q, x);
  await weightGradient('k_proj', k, context);
  await weightGradient('v_proj', v, context);

  const gradX = space.output([rows, width]);
  ops.gemm({ a: q, b: weights.q, c: gradX });
  const gradContext = cross ? space.output([contextRows, contextWidth]) : gradX;
  ops.gemm({ a: k, b: weights.k, c: gradContext, accumulate: !cross });
  ops.gemm({ a: v, b: weights.v, c: gradContext, accumulate: true });
  checks.tensor(name, 'grad.in.x', await gradX.readFloats());
  if (cross) checks.tensor(name, 'grad.in.context', await gradContext.readFloats());
}
