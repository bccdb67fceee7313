/** Rotary encoding, by the op that shares its code with attention. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import { swapMiddle } from '../pixels.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

type Shape = readonly [number, number, number, number];

export async function checkRope(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name] of file.cases()) {
    using space = new Workspace(file);
    const [b, h, n, d] = file.shape(`${name}.in.x`) as unknown as Shape;
    const [rows, width] = [b * n, h * d];
    // The file has heads before positions; ops have them side by side in a row.
    const byRows = (tensor: string) => swapMiddle(file.values(`${name}.${tensor}`), [b, h, n, d]);
    const byHeads = (values: ArrayLike<number>) => swapMiddle(values, [b, n, h, d]);
    const coordinates = space.load(`${name}.in.coords`, [rows, 2]);
    const frequencies = space.load(`${name}.param.freqs`);
    const x = space.from(byRows('in.x'), [rows, width]);
    const shared = { x, coordinates, frequencies, heads: h, rope: 'coupled' } as const;

    const y = space.output([rows, width]);
    ops.ropeForward({ ...shared, y });
    checks.tensor(name, 'out.y', byHeads(await y.readFloats()));

    if (!file.has(`${name}.cot.y`)) continue;
    const gradY = space.from(byRows('cot.y'), [rows, width]);
    const gradX = space.output([rows, width]);
    const gradFrequencies = space.output([2, d]);
    ops.ropeBackward({ ...shared, gradY, gradX, gradFrequencies });
    checks.tensor(name, 'grad.in.x', byHeads(await gradX.readFloats()));
    checks.tensor(name, 'grad.param.freqs', await gradFrequencies.readFloats());

    // Coordinates are no parameters, so no op has their gradient. That of a token's angles is the gradient of the
    // frequencies where the angles stand as frequencies and the coordinates are (1, 0).
    const place = file.floats(`${name}.in.coords`);
    const values = file.floats(`${name}.param.freqs`);
    const gradCoordinates = new Float64Array(2 * rows);
    const unit = space.from([1, 0], [1, 2]);
    const angles = space.output([2, d]);
    const gradAngles = space.output([2, d]);
    for (let row = 0; row < rows; row++) {
      const at = (axis: number, i: number) => values[axis * d + i] as number;
      const [down, across] = [place[2 * row] as number, place[2 * row + 1] as number];
      angles.write(
        Float32Array.from({ length: 2 * d }, (_, i) => (i < d ? down * at(0, i) + across * at(1, i) : 0)),
      );
      ops.ropeBackward({
        ...shared,
        x: x.rowRange(row, row + 1),
        coordinates: unit,
        frequencies: angles,
        gradY: gradY.rowRange(row, row + 1),
        gradX: gradX.rowRange(row, row + 1),
        gradFrequencies: gradAngles,
      });
      const grad = await gradAngles.readFloats();
      for (let i = 0; i < d; i++) {
        for (const axis of [0, 1]) {
          const at2 = 2 * row + axis;
          gradCoordinates[at2] = (gradCoordinates[at2] as number) + (grad[i] as number) * at(axis, i);
        }
      }
    }
    checks.tensor(name, 'grad.in.coords', gradCoordinates, { note: 'from the gradient of the angles' });
  }
}
