/** Rows of the report: one for each comparison. */
import type { GoldenFile } from './golden_file.js';
import { byYardstick } from './tolerances.js';

export interface Row {
  readonly pass: boolean;
  readonly file: string;
  readonly case: string;
  readonly tensor: string;
  readonly error: number;
  readonly tolerance: number;
  readonly note?: string | undefined;
}

export class Report {
  readonly rows: Row[] = [];
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  add(row: Row): void {
    this.rows.push(row);
    const { pass, file, tensor, error, tolerance, note } = row;
    const columns = [
      pass ? 'pass' : 'FAIL',
      file.padEnd(17),
      row.case.padEnd(14),
      tensor.padEnd(56),
      error.toExponential(2).padStart(9),
      tolerance.toExponential(2).padStart(9),
      ...(note ? [note] : []),
    ];
    this.#print(columns.join('  '));
  }

  /** A file that could not be checked at all. */
  fail(file: string, note: string): void {
    this.add({ pass: false, file, case: '-', tensor: '-', error: Number.NaN, tolerance: 0, note });
  }

  get failed(): number {
    return this.rows.filter(({ pass }) => !pass).length;
  }

  get passed(): number {
    return this.rows.length - this.failed;
  }
}

/** What a checker of one file compares with. A NaN on either side never passes. */
export class Checks {
  readonly #file: GoldenFile;
  readonly #report: Report;

  constructor(file: GoldenFile, report: Report) {
    this.#file = file;
    this.#report = report;
  }

  /**
   * Compares with the file's tensor `case.tensor`.
   * @param tolerance absolute; default: by the rule of tolerances.ts
   */
  tensor(
    caseName: string,
    tensor: string,
    actual: ArrayLike<number>,
    options: { readonly tolerance?: number; readonly note?: string } = {},
  ): void {
    const name = caseName === '' ? tensor : `${caseName}.${tensor}`;
    const expected = this.#file.values(name);
    const tolerance = options.tolerance ?? byYardstick(this.#file, name, expected);
    if (actual.length !== expected.length) {
      const note = `${actual.length} values instead of ${expected.length}`;
      this.#row(caseName, tensor, Number.NaN, tolerance, note);
      return;
    }
    this.#row(caseName, tensor, largestError(actual, expected), tolerance, options.note);
  }

  /** A number that must not be above `limit`. */
  most(caseName: string, tensor: string, value: number, limit: number, note?: string): void {
    this.#row(caseName, tensor, value, limit, note);
  }

  /** A statement; its row shows 0 or 1 exceptions. */
  holds(caseName: string, tensor: string, truth: boolean, note: string): void {
    this.#row(caseName, tensor, truth ? 0 : 1, 0, note);
  }

  #row(caseName: string, tensor: string, error: number, tolerance: number, note?: string): void {
    this.#report.add({
      pass: error <= tolerance, // false for NaN
      file: this.#file.name,
      case: caseName || '-',
      tensor,
      error,
      tolerance,
      note,
    });
  }
}

/** NaN when any element of either side is. */
export function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((actual[i] as number) - (expected[i] as number));
    // Infinity meets itself as NaN: an infinite result is no result.
    if (Number.isNaN(difference)) return Number.NaN;
    if (difference > largest) largest = difference;
  }
  return largest;
}
