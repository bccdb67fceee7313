/**
 * How a run shows that it is alive: one line that redraws itself on a terminal, plain lines now and then elsewhere.
 * Nothing here decides whether to show anything: a quiet run makes no Progress.
 */

export interface ProgressUpdate {
  /** Iterations done. */
  readonly iteration: number;
  /** Absent where nothing is learned. */
  readonly capiLoss?: number;
  readonly clusteringLoss?: number;
  readonly targetEntropy?: number;
}

export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface ProgressOptions {
  readonly totalIterations: number;
  /** Images a step, over all ranks. */
  readonly batchSize: number;
  readonly stream?: ProgressStream;
  /** Seconds between two plain lines. */
  readonly plainPeriod?: number;
  /** Milliseconds; tests replace it. */
  readonly now?: () => number;
}

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_LINE = '\r\x1b[2K';
const REDRAW_MS = 100;
/** The rate and the ETA look back this far: long enough to be calm, short enough to notice a change. */
const RATE_WINDOW_MS = 30_000;
/** Steps that must have been timed before a rate is shown. The first of a process is not timed: it warms caches up. */
const FEWEST_TIMED = 3;

export class Progress implements Disposable {
  readonly #options: ProgressOptions;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #live: boolean;
  /** (time, iteration) of the updates in the last RATE_WINDOW_MS, oldest first. */
  readonly #history: { readonly time: number; readonly iteration: number }[] = [];
  #timed = -1;
  #lastShown = Number.NEGATIVE_INFINITY;
  #last: ProgressUpdate | undefined;
  #shown: ProgressUpdate | undefined;
  #drawn = false;
  #finished = false;
  readonly #restoreCursor = () => {
    this.#stream.write(SHOW_CURSOR);
  };

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#stream = options.stream ?? process.stderr;
    this.#now = options.now ?? (() => performance.now());
    this.#live = this.#stream.isTTY === true && process.env.TERM !== 'dumb';
    if (this.#live) {
      this.#stream.write(HIDE_CURSOR);
      // Also when something calls process.exit: a terminal without a cursor outlives the run.
      process.once('exit', this.#restoreCursor);
    }
  }

  /** Cheap enough for every iteration: shows something only when it is time to. */
  update(update: ProgressUpdate): void {
    if (this.#finished) return;
    const time = this.#now();
    this.#last = update;
    this.#remember(time, update.iteration);
    const period = this.#live ? REDRAW_MS : (this.#options.plainPeriod ?? 10) * 1000;
    if (time - this.#lastShown < period) return;
    this.#lastShown = time;
    this.#show(update);
  }

  /** Prints a line of its own above the bar. */
  note(message: string): void {
    if (this.#drawn) this.#stream.write(CLEAR_LINE);
    this.#stream.write(`${message}\n`);
    this.#drawn = false;
    if (this.#live && this.#last !== undefined && !this.#finished) this.#show(this.#last);
  }

  /** Shows the last state, ends the line and gives the cursor back. Safe to call twice. */
  finish(): void {
    if (this.#finished) return;
    if (this.#last !== undefined && this.#last !== this.#shown) this.#show(this.#last);
    this.#finished = true;
    if (!this.#live) return;
    this.#stream.write(this.#drawn ? `\n${SHOW_CURSOR}` : SHOW_CURSOR);
    this.#drawn = false;
    process.removeListener('exit', this.#restoreCursor);
  }

  [Symbol.dispose](): void {
    this.finish();
  }

  #remember(time: number, iteration: number): void {
    this.#timed += 1;
    this.#history.push({ time, iteration });
    // Keep one entry older than the window, so that the rate always spans it.
    while ((this.#history[1]?.time ?? time) < time - RATE_WINDOW_MS) this.#history.shift();
  }

  #show(update: ProgressUpdate): void {
    this.#shown = update;
    const line = { ...update, total: this.#options.totalIterations, ...this.#rate(update.iteration) };
    if (!this.#live) {
      this.#stream.write(`${plainLine(line)}\n`);
      return;
    }
    this.#stream.write(CLEAR_LINE + barLine(line, (this.#stream.columns || 80) - 1));
    this.#drawn = true;
  }

  #rate(iteration: number): { readonly imagesPerSecond: number; readonly eta: number } {
    const [first] = this.#history;
    if (first === undefined || this.#timed < FEWEST_TIMED)
      return { imagesPerSecond: Number.NaN, eta: Number.NaN };
    const perSecond = (1000 * (iteration - first.iteration)) / (this.#now() - first.time);
    return {
      imagesPerSecond: perSecond * this.#options.batchSize,
      eta: (this.#options.totalIterations - iteration) / perSecond,
    };
  }
}

interface Line extends ProgressUpdate {
  readonly total: number;
  /** NaN before it is known. */
  readonly imagesPerSecond: number;
  /** Seconds; NaN before it is known. */
  readonly eta: number;
}

/** The parts that fit into `width` columns, the most important first, and a bar in what is left. */
export function barLine(line: Line, width: number): string {
  const done = Math.min(1, line.iteration / Math.max(1, line.total));
  const head = `${String(Math.floor(done * 100)).padStart(3)}%`;
  const parts = [
    `${line.iteration}/${line.total}`,
    ...labelled('loss', line.capiLoss),
    `eta ${duration(line.eta)}`,
    ...labelled('clustering', line.clusteringLoss),
    ...labelled('entropy', line.targetEntropy),
    `${rate(line.imagesPerSecond)} img/s`,
  ];
  const smallestBar = 10;
  let tail = '';
  for (const part of parts) {
    const longer = `${tail}  ${part}`;
    if (head.length + 1 + smallestBar + longer.length > width) break;
    tail = longer;
  }
  const room = Math.min(40, width - head.length - 1 - tail.length);
  return room < 3 ? head.slice(0, Math.max(0, width)) : `${head} ${bar(done, room)}${tail}`;
}

export function plainLine(line: Line): string {
  return [
    `[${line.iteration}/${line.total}]`,
    ...labelled('capi_loss', line.capiLoss),
    ...labelled('clustering_loss', line.clusteringLoss),
    ...labelled('target_entropy', line.targetEntropy),
    `${rate(line.imagesPerSecond)} images/s`,
    `eta ${duration(line.eta)}`,
  ].join('  ');
}

/** Eighths of a column make the bar move smoothly. */
function bar(share: number, width: number): string {
  const eighths = Math.round(share * width * 8);
  const full = Math.floor(eighths / 8);
  const part = eighths % 8 === 0 ? '' : (' ▏▎▍▌▋▊▉'[eighths % 8] ?? '');
  return ('█'.repeat(full) + part).padEnd(width, '░');
}

/** 45s, 3m 05s, 2h 07m, 4d 11h. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '--';
  const whole = Math.round(seconds);
  const pair = (large: number, small: number, units: string) =>
    `${large}${units[0] ?? ''} ${String(small).padStart(2, '0')}${units[1] ?? ''}`;
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), whole % 60, 'ms');
  if (whole < 86_400) return pair(Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), 'hm');
  return pair(Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3600), 'dh');
}

function labelled(label: string, value: number | undefined): string[] {
  return value === undefined ? [] : [`${label} ${Number.isFinite(value) ? value.toFixed(3) : '--'}`];
}

function rate(value: number): string {
  if (!Number.isFinite(value)) return '--';
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
