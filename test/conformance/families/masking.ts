/** The mask generators: counts exactly, distributions by tests against the file's histograms. */
import { patchCounts } from '../../../lib/config/shape.js';
import { ops } from '../../../lib/tensor/ops.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { histogramDeviation, largestShareDeviation } from '../statistics.js';
import { deviations } from '../tolerances.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly kind: 'InverseBlock' | 'Block' | 'Uniform';
  readonly grid: readonly [number, number];
  readonly n_masked: number;
  readonly roll: boolean | null;
  readonly samples: number;
}

interface BatchCase {
  readonly img: number;
  readonly patch: number;
  readonly ratio: number;
  readonly sub: number;
  readonly b: number;
}

const kinds = { InverseBlock: 'inverse_block', Block: 'block', Uniform: 'uniform' } as const;
const seed = 1;
/** Images of one call, and the most that a statistic is taken over. */
const batchSize = 1000;
const mostSamples = 200_000;

export async function checkMasking(file: GoldenFile, checks: Checks): Promise<void> {
  checkCounts(file, checks);
  for (const [name, options] of file.cases<Case>()) {
    if ('kind' in options) await checkGenerator(file, checks, name, options);
  }
  for (const [name, options] of file.cases<BatchCase>()) {
    if (file.has(`${name}.visible_indices`)) await checkBatch(file, checks, name, options);
  }
}

function checkCounts(file: GoldenFile, checks: Checks): void {
  if (!file.has('counts.grid')) return;
  const grids = file.values('counts.grid');
  const subs = file.values('counts.sub');
  const counts = [...file.values('counts.ratio')].map((ratio, i) =>
    patchCounts((grids[2 * i] as number) * (grids[2 * i + 1] as number), ratio, subs[i] as number),
  );
  const exact = { tolerance: 0 };
  checks.tensor(
    'counts',
    'n_masked',
    counts.map(({ masked }) => masked),
    exact,
  );
  checks.tensor(
    'counts',
    'n_predict',
    counts.map(({ predicted }) => predicted),
    exact,
  );
  checks.tensor(
    'counts',
    'n_visible',
    counts.map(({ visible }) => visible),
    exact,
  );
}

/** Masks of our generator, one after the other: 1 = masked. */
async function forMasks(
  file: GoldenFile,
  options: Case & { readonly predicted?: number },
  samples: number,
  visit: (mask: Uint8Array, predict: Int32Array) => void,
): Promise<void> {
  using space = new Workspace(file);
  const [gridRows, gridCols] = options.grid;
  const positions = gridRows * gridCols;
  const nVisible = positions - options.n_masked;
  const { predicted = 0 } = options;
  const visible = space.indices(new Int32Array(batchSize * nVisible));
  const predict = predicted > 0 ? space.indices(new Int32Array(batchSize * predicted)) : undefined;
  const numbers = space.from(new Int32Array(2 * batchSize), [batchSize, 2], 'i32');
  const mask = new Uint8Array(positions);
  for (let first = 0; first < samples; first += batchSize) {
    numbers.write(Int32Array.from({ length: 2 * batchSize }, (_, i) => (i % 2 === 0 ? first + i / 2 : 0)));
    ops.generateMasks({
      kind: kinds[options.kind],
      roll: options.roll ?? false,
      gridRows,
      gridCols,
      nMasked: options.n_masked,
      seed,
      samples: numbers,
      visible,
      predict,
    });
    const seen = (await visible.read()) as Int32Array;
    const asked = ((await predict?.read()) ?? new Int32Array(0)) as Int32Array;
    for (let image = 0; image < batchSize && first + image < samples; image++) {
      mask.fill(1);
      for (let i = image * nVisible; i < (image + 1) * nVisible; i++) {
        mask[(seen[i] as number) - image * positions] = 0;
      }
      visit(
        mask,
        asked.subarray(image * predicted, (image + 1) * predicted).map((cell) => cell - image * positions),
      );
    }
  }
}

async function checkGenerator(file: GoldenFile, checks: Checks, name: string, options: Case): Promise<void> {
  const [rows, cols] = options.grid;
  const samples = Math.min(options.samples, mostSamples);
  const trueCount = new Float64Array(rows * cols);
  const boxes = new Float64Array((rows + 1) * (cols + 1));
  const tops = new Float64Array(rows);
  const lefts = new Float64Array(cols);
  const shapes = new Map<number, string>();
  const block = options.kind === 'Block' ? 1 : 0;
  let wrongCounts = 0;
  await forMasks(file, options, samples, (mask) => {
    let masked = 0;
    for (let cell = 0; cell < mask.length; cell++) {
      masked += mask[cell] as number;
      trueCount[cell] = (trueCount[cell] as number) + (mask[cell] as number);
    }
    if (masked !== options.n_masked) wrongCounts++;
    if (options.kind === 'Uniform') return;
    // Rows and columns that the block touches decide its shape, so that one mask of each is enough.
    const { occupied, top, left, height, width } = boundingBox(mask, cols, block);
    if (!shapes.has(occupied)) shapes.set(occupied, shapeOf(mask, rows, cols, block));
    if (options.roll) return;
    const box = height * (cols + 1) + width;
    boxes[box] = (boxes[box] as number) + 1;
    tops[top] = (tops[top] as number) + 1;
    lefts[left] = (lefts[left] as number) + 1;
  });
  const goldenCount = file.values(`${name}.true_count`);
  const shares = largestShareDeviation(trueCount, samples, goldenCount, options.samples);
  checks.most(name, 'true_count', shares, deviations, 'standard deviations of a cell');
  checks.most(name, 'true_count', wrongCounts, 0, `masks without exactly ${options.n_masked} cells`);
  const histograms = { box_hist: boxes, top_hist: tops, left_hist: lefts };
  for (const [tensor, ours] of Object.entries(histograms)) {
    if (!file.has(`${name}.${tensor}`)) continue;
    const z = histogramDeviation(ours, file.values(`${name}.${tensor}`));
    checks.most(name, tensor, z, deviations, 'standard deviations of chi-square');
  }
  checkExamples(file, checks, name, options, new Set(shapes.values()));
}

/** The reference's masks are of shapes that ours take too, up to a cyclic shift. */
function checkExamples(
  file: GoldenFile,
  checks: Checks,
  name: string,
  { grid: [rows, cols], n_masked, kind }: Case,
  shapes: ReadonlySet<string>,
): void {
  const all = file.values(`${name}.examples`);
  let strange = 0;
  for (let start = 0; start < all.length; start += rows * cols) {
    const mask = Uint8Array.from(all.subarray(start, start + rows * cols));
    const masked = mask.reduce((sum, cell) => sum + cell, 0);
    const known = kind === 'Uniform' || shapes.has(shapeOf(mask, rows, cols, kind === 'Block' ? 1 : 0));
    if (masked !== n_masked || !known) strange++;
  }
  checks.most(name, 'examples', strange, 0, 'masks of a count or shape that ours never have');
}

/** Where the block lies; `occupied` tells apart how many rows and columns it touches, rolled or not. */
function boundingBox(mask: Uint8Array, cols: number, block: number) {
  const rows = mask.length / cols;
  const rowUsed = new Uint8Array(rows);
  const colUsed = new Uint8Array(cols);
  for (let row = 0, cell = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, cell++) {
      if (mask[cell] !== block) continue;
      rowUsed[row] = 1;
      colUsed[col] = 1;
    }
  }
  const count = (used: Uint8Array) => used.reduce((sum, value) => sum + value, 0);
  const [top, left] = [rowUsed.indexOf(1), colUsed.indexOf(1)];
  return {
    occupied: count(rowUsed) * (cols + 1) + count(colUsed),
    top,
    left,
    height: rowUsed.lastIndexOf(1) - top + 1,
    width: colUsed.lastIndexOf(1) - left + 1,
  };
}

/** Cells of the block in each row and each column, from the first row or column behind an empty or shorter one on. */
function shapeOf(mask: Uint8Array, rows: number, cols: number, block: number): string {
  const perRow = new Array<number>(rows).fill(0);
  const perCol = new Array<number>(cols).fill(0);
  for (let cell = 0; cell < mask.length; cell++) {
    if (mask[cell] !== block) continue;
    const [row, col] = [Math.floor(cell / cols), cell % cols];
    perRow[row] = (perRow[row] as number) + 1;
    perCol[col] = (perCol[col] as number) + 1;
  }
  return `${smallestRotation(perRow)} | ${smallestRotation(perCol)}`;
}

function smallestRotation(values: readonly number[]): string {
  let smallest = '';
  for (let shift = 0; shift < values.length; shift++) {
    const rotated = [...values.slice(shift), ...values.slice(0, shift)]
      .map((v) => String(v).padStart(3))
      .join();
    if (smallest === '' || rotated < smallest) smallest = rotated;
  }
  return smallest;
}

/** The index lists of a batch, and how often each cell is asked for. */
async function checkBatch(file: GoldenFile, checks: Checks, name: string, options: BatchCase): Promise<void> {
  const side = Math.floor(options.img / options.patch);
  const positions = side * side;
  const { masked, visible, predicted } = patchCounts(positions, options.ratio, options.sub);
  const generator: Case = {
    kind: 'InverseBlock',
    grid: [side, side],
    n_masked: masked,
    roll: true,
    samples: options.b,
  };
  const golden = {
    visible: file.values(`${name}.visible_indices`),
    predict: file.values(`${name}.predict_indices`),
  };
  const ours = { visible: [] as number[], predict: [] as number[] };
  let image = 0;
  await forMasks(file, { ...generator, predicted }, options.b, (mask, predict) => {
    for (const [cell, hidden] of mask.entries()) if (!hidden) ours.visible.push(image * positions + cell);
    ours.predict.push(...[...predict].map((cell) => image * positions + cell));
    image++;
  });
  const sound = (lists: { visible: ArrayLike<number>; predict: ArrayLike<number> }) =>
    soundBatch(lists, { images: options.b, positions, visible, predicted });
  checks.holds(name, 'visible_indices', sound(golden) && sound(ours), 'ascending, equal counts, in both');
  checks.holds(name, 'predict_indices', sound(golden) && sound(ours), 'grouped, distinct, masked, in both');

  if (!file.has('predict_pos_count')) return;
  const trials = file.config.predict_batches as number;
  const samples = Math.min(trials, mostSamples);
  const asked = new Float64Array(positions);
  await forMasks(file, { ...generator, predicted }, samples, (_, predict) => {
    for (const cell of predict) asked[cell] = (asked[cell] as number) + 1;
  });
  const z = largestShareDeviation(asked, samples, file.values('predict_pos_count'), trials);
  checks.most('-', 'predict_pos_count', z, deviations, 'standard deviations of a cell');
}

function soundBatch(
  lists: { readonly visible: ArrayLike<number>; readonly predict: ArrayLike<number> },
  sizes: { images: number; positions: number; visible: number; predicted: number },
): boolean {
  const { images, positions, visible, predicted } = sizes;
  const shown = Array.from(lists.visible);
  const asked = Array.from(lists.predict);
  const imageOf = (cell: number) => Math.floor(cell / positions);
  return (
    shown.length === images * visible &&
    asked.length === images * predicted &&
    shown.every((cell, i) => imageOf(cell) === Math.floor(i / visible) && cell > (shown[i - 1] ?? -1)) &&
    asked.every((cell, i) => imageOf(cell) === Math.floor(i / predicted)) &&
    new Set([...shown, ...asked]).size === shown.length + asked.length
  );
}
