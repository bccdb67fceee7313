/** RMSNorm with and without a weight. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly eps: number;
}

export async function checkRmsNorm(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, { eps }] of file.cases<Case>()) {
    using space = new Workspace(file);
    const shape = file.shape(`${name}.in.x`);
    const width = shape.at(-1) as number;
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const affine = file.has(`${name}.param.weight`);
    const x = space.load(`${name}.in.x`, [rows, width]);
    const weight = affine ? space.load(`${name}.param.weight`, [1, width]) : undefined;
    const y = space.output([rows, width]);
    const rstd = space.output([1, rows]);
    ops.rmsNormForward({ x, weight, y, rstd, eps });
    checks.tensor(name, 'out.y', await y.readFloats());
    const gradY = space.load(`${name}.cot.y`, [rows, width]);
    const gradX = space.output([rows, width]);
    const gradWeight = affine ? space.output([1, width]) : undefined;
    ops.rmsNormBackward({ x, weight, rstd, gradY, gradX, gradWeight });
    checks.tensor(name, 'grad.in.x', await gradX.readFloats());
    if (gradWeight) checks.tensor(name, 'grad.param.weight', await gradWeight.readFloats());
  }
}
