/** Coordinates of tokens, straight from METHOD section 4. */
export interface CoordinatesCase {
  readonly images: number;
  readonly grid: readonly [number, number];
  readonly registers: number;
  readonly edge: boolean;
  readonly scale: boolean;
  /** Into the flattened batch; absent: all. */
  readonly indices?: readonly number[];
}

export function coordinatesReference({
  images,
  grid,
  registers,
  edge,
  scale,
  indices,
}: CoordinatesCase): number[] {
  const [rows, cols] = grid;
  const patches = rows * cols;
  const chosen = indices ?? Array.from({ length: images * patches }, (_, i) => i);
  const each = chosen.length / images;
  const side = registers / 4;
  const out: number[] = [];
  for (let image = 0; image < images; image++) {
    const points = chosen.slice(image * each, (image + 1) * each).map((index) => {
      const patch = index % patches;
      const row = Math.floor(patch / cols);
      return [rows > 1 ? row / (rows - 1) : 0, cols > 1 ? (patch % cols) / (cols - 1) : 0] as const;
    });
    const range = (axis: 0 | 1): readonly [number, number] => {
      if (!scale) return [0, 1];
      const values = points.map((point) => point[axis]);
      return [Math.min(...values), Math.max(...values)];
    };
    const [top, bottom] = range(0);
    const [left, right] = range(1);
    for (let i = 0; i < registers; i++) {
      const t = (i % side) / side;
      const corners = [[t, 0] as const, [1, t] as const, [1 - t, 1] as const, [0, 1 - t] as const];
      const [row, col] = edge ? (corners[Math.floor(i / side)] ?? [0, 0]) : [0, 0];
      out.push(top + row * (bottom - top), left + col * (right - left));
    }
    for (const point of points) out.push(...point);
  }
  return out;
}

export interface TokensCase {
  readonly batch: number;
  readonly nRegisters: number;
  readonly nVisible: number;
  readonly nMasked: number;
}

/** Calls `visit(row of tokens, kind, number within the kind's tensor)` in the order of the token matrix. */
export function eachToken(
  { batch, nRegisters, nVisible, nMasked }: TokensCase,
  visit: (row: number, kind: 'register' | 'patch' | 'mask', number: number) => void,
): void {
  let row = 0;
  for (let image = 0; image < batch; image++) {
    for (let i = 0; i < nRegisters; i++) visit(row++, 'register', i);
    for (let i = 0; i < nVisible; i++) visit(row++, 'patch', image * nVisible + i);
    for (let i = 0; i < nMasked; i++) visit(row++, 'mask', image * nMasked + i);
  }
}
