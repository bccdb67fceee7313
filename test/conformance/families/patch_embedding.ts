/** The patch embedding as a GEMM over cut patches, of any grid. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { cutPatches, joinPatches } from '../pixels.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly patch: number;
}

export async function checkPatchEmbedding(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, { patch }] of file.cases<Case>()) {
    using space = new Workspace(file);
    const image = { shape: file.shape(`${name}.in.images`), patch };
    const width = file.shape(`${name}.param.weight`)[0] as number;
    const values = 3 * patch * patch;
    const pixels = cutPatches(file.floats(`${name}.in.images`), image);
    const rows = pixels.length / values;
    const patches = space.from(pixels, [rows, values]);
    const weight = space.load(`${name}.param.weight`, [width, values]);
    const tokens = space.output([rows, width]);
    const bias = space.load(`${name}.param.bias`, [1, width]);
    ops.gemm({ a: patches, b: weight, transposeB: true, bias, c: tokens });
    checks.tensor(name, 'out.tokens', await tokens.readFloats());

    const gradTokens = space.load(`${name}.cot.tokens`, [rows, width]);
    const gradWeight = space.output([width, values]);
    const gradBias = space.output([1, width]);
    const gradPatches = space.output([rows, values]);
    ops.gemm({ a: gradTokens, b: patches, transposeA: true, c: gradWeight });
    ops.sumRows({ x: gradTokens, y: gradBias });
    ops.gemm({ a: gradTokens, b: weight, c: gradPatches });
    checks.tensor(name, 'grad.in.images', joinPatches(await gradPatches.readFloats(), image));
    checks.tensor(name, 'grad.param.weight', await gradWeight.readFloats());
    checks.tensor(name, 'grad.param.bias', await gradBias.readFloats());
  }
}
