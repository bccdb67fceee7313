/** Rows for people, printed as they come, in columns of a fixed width. */
import type { Spread } from './spread.js';

export interface Column {
  readonly title: string;
  readonly width: number;
  readonly align?: 'left' | 'right';
}

export class Table {
  readonly #columns: readonly Column[];
  readonly #print: (line: string) => void;

  constructor(columns: readonly Column[], print: (line: string) => void) {
    this.#columns = columns;
    this.#print = print;
    this.row(columns.map(({ title }) => title));
    this.row(columns.map(({ width }) => '-'.repeat(width)));
  }

  row(cells: readonly string[]): void {
    const padded = this.#columns.map(({ width, align }, i) => {
      const cell = cells[i] ?? '';
      return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
    });
    this.#print(padded.join('  ').trimEnd());
  }
}

/** Three significant digits without an exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** "98.7 GFLOP/s", "654 TFLOP/s" */
export function flopRate(perSecond: number): string {
  return perSecond < 1e12 ? `${digits(perSecond / 1e9)} GFLOP/s` : `${digits(perSecond / 1e12)} TFLOP/s`;
}

/** "12.3 (12.1–13.0)" */
export function range({ median, min, max }: Spread, scale = 1): string {
  return `${digits(median * scale)} (${digits(min * scale)}–${digits(max * scale)})`;
}

export function times(value: Spread | undefined): string {
  return value ? `${range(value)}×` : '';
}

export function percent(share: number | undefined): string {
  return share === undefined ? '' : `${(100 * share).toFixed(0)} %`;
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
