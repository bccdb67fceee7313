/** Two GEMMs with GELU fused in, as the MLP branch calls them, and GELU alone. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { type Checks, largestError } from '../report.js';
import { geluRelative } from '../tolerances.js';
import { Workspace } from '../workspace.js';

export async function checkMlp(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name] of file.cases()) await checkCase(file, checks, name);
  if (file.has('gelu.x')) await checkGelu(file, checks);
}

async function checkCase(file: GoldenFile, checks: Checks, name: string): Promise<void> {
  using space = new Workspace(file);
  const shape = file.shape(`${name}.in.x`);
  const width = shape.at(-1) as number;
  const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const x = space.load(`${name}.in.x`, [rows, width]);
  const fc1 = space.load(`${name}.param.fc1.weight`);
  const fc2 = space.load(`${name}.param.fc2.weight`);
  const hidden = fc1.rows;
  const pre = space.output([rows, hidden]);
  const wide = space.output([rows, hidden]);
  const y = space.output([rows, width]);
  ops.gemm({ a: x, b: fc1, transposeB: true, c: wide, gelu: 'forward', pre });
  ops.gemm({ a: wide, b: fc2, transposeB: true, c: y });
  checks.tensor(name, 'out.y', await y.readFloats());

  const gradY = space.load(`${name}.cot.y`, [rows, width]);
  const gradFc1 = space.output([hidden, width]);
  const gradFc2 = space.output([width, hidden]);
  const gradX = space.output([rows, width]);
  ops.gemm({ a: gradY, b: fc2, c: wide, gelu: 'backward', pre });
  ops.gemm({ a: gradY, b: pre, transposeA: true, c: gradFc2 });
  ops.gemm({ a: wide, b: x, transposeA: true, c: gradFc1 });
  ops.gemm({ a: wide, b: fc1, c: gradX });
  checks.tensor(name, 'grad.in.x', await gradX.readFloats());
  checks.tensor(name, 'grad.param.fc1.weight', await gradFc1.readFloats());
  checks.tensor(name, 'grad.param.fc2.weight', await gradFc2.readFloats());
}

/** GELU of x · 1 and its gradient: products of one term. Relative to each value: the tails are small. */
async function checkGelu(file: GoldenFile, checks: Checks): Promise<void> {
  using space = new Workspace(file);
  const values = file.floats('gelu.x');
  const n = values.length;
  const one = space.from([1], [1, 1]);
  const y = space.output([1, n]);
  ops.gemm({ a: one, b: space.from(values, [1, n]), c: y, gelu: 'forward' });
  const pre = space.from(values, [1, n]);
  const dy = space.output([1, n]);
  const ones = space.from(new Float32Array(n).fill(1), [1, n]);
  ops.gemm({ a: one, b: ones, c: dy, gelu: 'backward', pre });
  const relative = (actual: ArrayLike<number>, expected: ArrayLike<number>, i: number) =>
    Math.abs((actual[i] as number) - (expected[i] as number)) / Math.max(Math.abs(expected[i] as number), 1);
  for (const [tensor, result] of [
    ['y', await y.readFloats()],
    ['dy', await dy.readFloats()],
  ] as const) {
    const expected = file.values(`gelu.${tensor}`);
    const errors = Float64Array.from(expected, (_, i) => relative(result, expected, i));
    checks.most(
      'gelu',
      tensor,
      largestError(errors, new Float64Array(n)),
      geluRelative,
      '|error| / max(|value|, 1)',
    );
  }
  const again = await pre.readFloats();
  checks.most('gelu', 'y', largestError(again, await y.readFloats()), 0, 'recomputed by the backward pass');
}
