/**
 * `training_metrics.json`: one JSON object a line, with the published keys. Values are medians over the last 20
 * iterations, times are means over them, as the published logger has it.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { writeFileAtomically } from '../checkpoint/durable.js';

export const METRICS_FILE_NAME = 'training_metrics.json';

/** What every iteration reports, under the published names. */
export interface IterationMetrics {
  readonly lr: number;
  readonly mom: number;
  readonly current_batch_size: number;
  readonly total_loss: number;
  readonly target_entropy: number;
  readonly capi_loss: number;
  readonly clustering_loss: number;
}

export interface IterationTimes {
  /** Seconds of the whole iteration. */
  readonly iter_time: number;
  /** Seconds of it spent waiting for data. */
  readonly data_time: number;
}

/** A line of the file, without the keys that a caller added. Numbers that are not finite are null in the file. */
export type MetricsLine = { readonly iteration: number } & IterationTimes & IterationMetrics;

/** Among the lines, a record of what happened to the run; `iteration` is the number of iterations done. */
export interface SaveFailure {
  readonly event: 'save_failed';
  readonly iteration: number;
  readonly reason: string;
  /** The newest that stands; null: none. */
  readonly last_checkpoint: string | null;
}

/** The open windows as JSON: saved with a checkpoint, a resumed run writes the lines an uninterrupted one would. */
export type MetricsWindows = Readonly<Record<string, readonly (number | null)[]>>;

const WINDOW = 20;
const TIMES: ReadonlySet<string> = new Set(['iter_time', 'data_time']);
const KEYS = [
  'iter_time',
  'data_time',
  'lr',
  'mom',
  'current_batch_size',
  'total_loss',
  'target_entropy',
  'capi_loss',
  'clustering_loss',
] as const satisfies readonly (keyof IterationTimes | keyof IterationMetrics)[];

export class MetricsFile implements Disposable {
  readonly path: string;
  readonly #windows = new Map<string, number[]>();
  #descriptor: number | undefined;
  /** Lines that a full disk refused; tried again with the next line. */
  #pending = '';

  /**
   * Opens the file for a run whose next iteration is `nextIteration`: lines from there on, left by a run that was killed
   * after its checkpoint, are dropped, and so is a line cut short. 0 starts the file anew.
   */
  static async open(path: string, nextIteration: number, windows: MetricsWindows = {}): Promise<MetricsFile> {
    const old = readIfThere(path);
    const kept = linesBefore(old, nextIteration);
    if (kept !== old) await writeFileAtomically(path, kept);
    return new MetricsFile(path, windows);
  }

  private constructor(path: string, windows: MetricsWindows) {
    this.path = path;
    this.#descriptor = openSync(path, 'a');
    for (const key of KEYS) {
      this.#windows.set(key, (windows[key] ?? []).map((value) => value ?? Number.NaN).slice(-WINDOW));
    }
  }

  /** Takes an iteration's numbers into the windows. */
  update(metrics: IterationMetrics, times: IterationTimes): void {
    const values = { ...metrics, ...times };
    for (const key of KEYS) {
      const window = this.#windows.get(key) ?? [];
      window.push(values[key]);
      if (window.length > WINDOW) window.shift();
    }
  }

  /** Appends a line for `iteration`, with `extra` keys after the published ones, and returns it. */
  write(iteration: number, extra: Readonly<Record<string, number | undefined>> = {}): MetricsLine {
    const line = { iteration, ...this.#summary() };
    this.#append(`${JSON.stringify({ ...line, ...extra }, finiteOrNull)}\n`);
    return line;
  }

  record(event: SaveFailure): void {
    this.#append(`${JSON.stringify(event)}\n`);
  }

  windows(): MetricsWindows {
    const copy = [...this.#windows].map(([key, window]) => [
      key,
      window.map((value) => (Number.isFinite(value) ? value : null)),
    ]);
    return Object.fromEntries(copy);
  }

  /** True while lines wait for space on the disk. */
  get isBehind(): boolean {
    return this.#pending !== '';
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #summary(): IterationTimes & IterationMetrics {
    const values = KEYS.map((key) => {
      const window = this.#windows.get(key) ?? [];
      return [key, TIMES.has(key) ? mean(window) : median(window)];
    });
    return Object.fromEntries(values);
  }

  /** Whole lines or nothing: a run goes on without its metrics, but never with half a line. */
  #append(line: string): void {
    if (this.#descriptor === undefined) return;
    this.#pending += line;
    const bytes = Buffer.from(this.#pending, 'utf8');
    const size = fstatSync(this.#descriptor).size;
    try {
      for (let done = 0; done < bytes.byteLength; ) done += writeSync(this.#descriptor, bytes, done);
      this.#pending = '';
    } catch {
      ftruncateSync(this.#descriptor, size);
    }
  }
}

/** The measurements of a metrics file; lines that are not JSON are left out. */
export function readMetrics(path: string): (MetricsLine & Readonly<Record<string, number | null>>)[] {
  return readLines(path).filter(({ event }) => event === undefined) as (MetricsLine &
    Record<string, number | null>)[];
}

/** The records of a metrics file. */
export function readSaveFailures(path: string): SaveFailure[] {
  return readLines(path).filter(({ event }) => event === 'save_failed') as unknown as SaveFailure[];
}

function readLines(path: string): Readonly<Record<string, unknown>>[] {
  return readIfThere(path)
    .split('\n')
    .flatMap((text): Readonly<Record<string, unknown>>[] => {
      const line = parseLine(text);
      return line === undefined ? [] : [line];
    });
}

function linesBefore(text: string, nextIteration: number): string {
  const lines = text.split('\n').filter((line) => {
    const iteration = parseLine(line)?.iteration;
    return typeof iteration === 'number' && iteration < nextIteration;
  });
  return lines.map((line) => `${line}\n`).join('');
}

function parseLine(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** JSON has no NaN: null says that there was no number. */
function finiteOrNull(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? null : value;
}

/** The lower of the two middle values, as torch.median; NaN when any value is. */
function median(values: readonly number[]): number {
  if (values.some(Number.isNaN)) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0) / values.length;
}
