/** Where patches and registers lie. */
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly grid: readonly [number, number];
  readonly n_registers: number;
  readonly register_coordinates: 'edge' | 'zeros';
  readonly scale_reg_to_visible: boolean;
}

export async function checkCoordinates(file: GoldenFile, checks: Checks): Promise<void> {
  using space = new Workspace(file);
  for (const name of file.names('edge.')) {
    const [, registers] = file.shape(name) as [number, number, number];
    const out = space.output([registers + 1, 2]);
    const grid = { gridRows: 1, gridCols: 1 };
    ops.coordinates({ out, ...grid, registers, registerKind: 'edge', scaleToVisible: false });
    checks.tensor('edge', name.slice('edge.'.length), (await out.readFloats()).slice(0, 2 * registers));
  }
  for (const [name, options] of file.cases<Case>()) {
    const visible = `${name}.in.visible_indices`;
    const shared = {
      gridRows: options.grid[0],
      gridCols: options.grid[1],
      registerKind: options.register_coordinates,
      scaleToVisible: options.scale_reg_to_visible,
    };
    const encoder = space.output(flat(file.shape(`${name}.out.coords_enc`)));
    const indices = file.has(visible) ? space.indices(file.values(visible)) : undefined;
    ops.coordinates({ ...shared, out: encoder, indices, registers: options.n_registers });
    checks.tensor(name, 'out.coords_enc', await encoder.readFloats());
    const all = space.output(flat(file.shape(`${name}.out.coords_all`)));
    ops.coordinates({ ...shared, out: all, registers: 0 });
    checks.tensor(name, 'out.coords_all', await all.readFloats());
  }
}

function flat([images, positions]: readonly number[]): number[] {
  return [(images as number) * (positions as number), 2];
}
