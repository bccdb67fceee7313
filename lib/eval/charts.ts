/**
 * Line charts and dumbbell charts as inline SVG: axes with round ticks, a legend where it is needed, and values
 * under the pointer without any script. Colours come from the page's style sheet, so one drawing serves light,
 * dark and paper.
 */

export type SeriesColour = 'first' | 'second' | 'third';

export interface Series {
  readonly label: string;
  readonly colour: SeriesColour;
  readonly points: readonly Point[]; // ascending x
}

export type Point = readonly [x: number, y: number];

export interface LineChart {
  readonly title: string;
  /** One or two sentences on how to read it. */
  readonly about?: string;
  readonly xLabel: string;
  readonly series: readonly Series[];
  readonly format?: (value: number) => string;
  /** The axis reaches at least these values. */
  readonly include?: readonly number[];
  /** Draws a moving average over the pale measured line. */
  readonly smooth?: boolean;
}

export interface DumbbellChart {
  readonly rows: readonly { readonly label: string; readonly from: number; readonly to: number }[];
  readonly fromLabel: string;
  readonly toLabel: string;
  readonly xLabel: string;
  readonly format: (value: number) => string;
  readonly formatChange: (value: number) => string;
}

// Near the width of a column on a page and on a phone, so that 12 units of text are about 12 pixels.
const WIDTH = 340;
const HEIGHT = 212;
const LEFT = 46;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 38;
const MOST_POINTS = 400; // more would only draw over each other
const POINTER_BANDS = 44;
const DUMBBELL_WIDTH = 420;

/** A figure with heading, last values and drawing. */
export function lineChart(chart: LineChart): string {
  const format = chart.format ?? compactNumber;
  const series = chart.series.map((s) => ({ ...s, points: thin(s.points) }));
  const drawn = series.map((s) => (chart.smooth ? movingAverage(s.points) : s.points));
  const all = series.flatMap((s) => s.points);
  if (all.length === 0) return '';
  const xs = all.map(([x]) => x);
  const ys = [...all.map(([, y]) => y), ...(chart.include ?? [])];
  const first = Math.min(...xs);
  const [left, right] = widen(first < 0.1 * Math.max(...xs) ? Math.min(0, first) : first, Math.max(...xs));
  const yTicks = roundTicks(...widen(Math.min(...ys), Math.max(...ys)), 5, true);
  const low = yTicks[0] ?? 0;
  const high = yTicks.at(-1) ?? 1;
  const toX = (x: number): number => LEFT + ((x - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const toY = (y: number): number => HEIGHT - BOTTOM - ((y - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const path = (points: readonly Point[]): string =>
    points.map(([x, y], i) => `${i ? 'L' : 'M'}${coordinate(toX(x))} ${coordinate(toY(y))}`).join('');

  const last = drawn.map((points) => format(points.at(-1)?.[1] ?? Number.NaN));
  const legend = series.map(
    (s, i) =>
      `<span class="value">${series.length > 1 ? `<i class="chip ${s.colour}"></i>${escapeHtml(s.label)} ` : ''}` +
      `<b>${escapeHtml(last[i] ?? '')}</b></span>`,
  );
  const svg = [
    ...yTicks.map(
      (y) =>
        `<line class="${y === low ? 'axis' : 'grid'}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${coordinate(toY(y))}" y2="${coordinate(toY(y))}"/>` +
        `<text class="tick" x="${LEFT - 8}" y="${coordinate(toY(y) + 4)}" text-anchor="end">${escapeHtml(tickLabel(y, yTicks, chart.format))}</text>`,
    ),
    ...roundTicks(left, right, 5, false).map(
      (x) =>
        `<line class="axis" x1="${coordinate(toX(x))}" x2="${coordinate(toX(x))}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM + 4}"/>` +
        `<text class="tick" x="${coordinate(toX(x))}" y="${HEIGHT - BOTTOM + 17}" text-anchor="middle">${compactNumber(x)}</text>`,
    ),
    `<text class="label" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 4}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>`,
    ...series.map((s) => (chart.smooth ? `<path class="raw ${s.colour}" d="${path(s.points)}"/>` : '')),
    ...series.map((s, i) => `<path class="line ${s.colour}" d="${path(drawn[i] ?? [])}"/>`),
    ...series.map((s, i) => {
      const [x, y] = drawn[i]?.at(-1) ?? [left, low];
      return `<circle class="end ${s.colour}" cx="${coordinate(toX(x))}" cy="${coordinate(toY(y))}" r="3.2"/>`;
    }),
    pointerBands(series, drawn, { left, right, toX, toY, format }),
  ].join('');
  return (
    `<figure class="chart"><figcaption><h3>${escapeHtml(chart.title)}</h3><span class="values">${legend.join('')}</span></figcaption>` +
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(`${chart.title}, last value ${last.join(', ')}`)}">${svg}</svg>` +
    `${chart.about ? `<p class="about">${escapeHtml(chart.about)}</p>` : ''}</figure>`
  );
}

/** Two values a row joined by a bar: before (hollow) and after (solid), the change written at the end. */
export function dumbbellChart(chart: DumbbellChart): string {
  const rowHeight = 46;
  const top = 34;
  const height = top + rowHeight * chart.rows.length + 46;
  const left = 78;
  const right = 56;
  const values = chart.rows.flatMap(({ from, to }) => [from, to]);
  const ticks = roundTicks(...widen(Math.min(...values), Math.max(...values)), 5, true);
  const low = ticks[0] ?? 0;
  const high = ticks.at(-1) ?? 1;
  const toX = (x: number): number => left + ((x - low) / (high - low)) * (DUMBBELL_WIDTH - left - right);
  const bottom = height - 42;
  const rows = chart.rows.map(({ label, from, to }, i) => {
    const y = top + rowHeight * (i + 0.5);
    const [a, b] = [toX(from), toX(to)].map(coordinate);
    // A label sits outside the pair, so that it never covers the bar.
    const outward = to >= from ? 1 : -1;
    return (
      `<text class="row" x="0" y="${y + 4}">${escapeHtml(label)}</text>` +
      `<line class="bar first" x1="${a}" x2="${b}" y1="${y}" y2="${y}"/>` +
      `<circle class="hollow" cx="${a}" cy="${y}" r="5.5"/><circle class="end first" cx="${b}" cy="${y}" r="6.5"/>` +
      `<text class="tick" x="${a}" y="${y - 12}" text-anchor="middle">${escapeHtml(chart.format(from))}</text>` +
      `<text class="strong" x="${b}" y="${y - 12}" text-anchor="middle">${escapeHtml(chart.format(to))}</text>` +
      `<text class="change" x="${coordinate(toX(to) + outward * 14)}" y="${y + 4}" text-anchor="${outward > 0 ? 'start' : 'end'}">${escapeHtml(chart.formatChange(to - from))}</text>`
    );
  });
  const grid = ticks.map(
    (x) =>
      `<line class="grid" x1="${coordinate(toX(x))}" x2="${coordinate(toX(x))}" y1="${top - 6}" y2="${bottom}"/>` +
      `<text class="tick" x="${coordinate(toX(x))}" y="${bottom + 16}" text-anchor="middle">${escapeHtml(tickLabel(x, ticks))}</text>`,
  );
  const axis = `<text class="label" x="${(left + DUMBBELL_WIDTH - right) / 2}" y="${bottom + 33}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>`;
  const key =
    `<circle class="hollow" cx="${left + 5}" cy="9" r="5"/><text class="label" x="${left + 16}" y="13">${escapeHtml(chart.fromLabel)}</text>` +
    `<circle class="end first" cx="${left + 165}" cy="9" r="5.5"/><text class="label" x="${left + 177}" y="13">${escapeHtml(chart.toLabel)}</text>`;
  return `<svg class="dumbbell" viewBox="0 0 ${DUMBBELL_WIDTH} ${height}" role="img" aria-label="${escapeHtml(`${chart.toLabel} against ${chart.fromLabel}`)}">${grid.join('')}${axis}${rows.join('')}${key}</svg>`;
}

/** 950, 1.2k, 3M, 0.031, 2e-5: short enough for an axis. */
export function compactNumber(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return '–';
  if (size >= 1e6) return `${trimZeros((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${trimZeros((value / 1e3).toPrecision(3))}k`;
  if (size >= 1000) return String(Math.round(value));
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace('.0e', 'e');
  return trimZeros(value.toPrecision(3));
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Vertical bands over the drawing; the style sheet shows a band's marker and values while it is hovered. */
function pointerBands(
  measured: readonly Series[],
  drawn: readonly (readonly Point[])[],
  scale: {
    readonly left: number;
    readonly right: number;
    readonly toX: (x: number) => number;
    readonly toY: (y: number) => number;
    readonly format: (value: number) => string;
  },
): string {
  const { left, right, toX, toY, format } = scale;
  const count = Math.min(POINTER_BANDS, measured[0]?.points.length ?? 0);
  const width = (WIDTH - LEFT - RIGHT) / Math.max(1, count);
  return Array.from({ length: count }, (_, band) => {
    const middle = left + ((band + 0.5) / count) * (right - left);
    const near = drawn.map((points) => nearestPoint(points, middle));
    const x = near[0]?.[0] ?? middle;
    const lines = near.map((point, i) => {
      const name = measured.length > 1 ? `${measured[i]?.label ?? ''} ` : '';
      return point ? `${name}${format(point[1])}` : '';
    });
    const words = `${compactNumber(x)}: ${lines.join(' · ')}`;
    const anchor = toX(x) < WIDTH * 0.35 ? 'start' : toX(x) > WIDTH * 0.65 ? 'end' : 'middle';
    const dots = near.map((point, i) =>
      point
        ? `<circle class="end ${measured[i]?.colour}" cx="${coordinate(toX(point[0]))}" cy="${coordinate(toY(point[1]))}" r="3.6"/>`
        : '',
    );
    return (
      `<g class="band"><rect x="${coordinate(LEFT + band * width)}" y="${TOP}" width="${coordinate(width)}" height="${HEIGHT - TOP - BOTTOM}"/>` +
      `<g><line x1="${coordinate(toX(x))}" x2="${coordinate(toX(x))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>${dots.join('')}` +
      `<text x="${coordinate(toX(x))}" y="${TOP}" text-anchor="${anchor}">${escapeHtml(words)}</text></g></g>`
    );
  }).join('');
}

function nearestPoint(points: readonly Point[], x: number): Point | undefined {
  return points.reduce<Point | undefined>(
    (best, point) => (best && Math.abs(best[0] - x) <= Math.abs(point[0] - x) ? best : point),
    undefined,
  );
}

/** At most MOST_POINTS, each the mean of its neighbours. */
function thin(points: readonly Point[]): readonly Point[] {
  if (points.length <= MOST_POINTS) return points;
  return Array.from({ length: MOST_POINTS }, (_, i) => {
    const part = points.slice(
      Math.floor((i * points.length) / MOST_POINTS),
      Math.floor(((i + 1) * points.length) / MOST_POINTS),
    );
    const mean = (axis: 0 | 1): number => part.reduce((sum, point) => sum + point[axis], 0) / part.length;
    return [mean(0), mean(1)] as const;
  });
}

/** Over about a twentieth of the points, centred; narrower at the start, which may be steep, backwards at the end. */
function movingAverage(points: readonly Point[]): readonly Point[] {
  const half = Math.floor(points.length / 40);
  return points.map(([x], i) => {
    const part = points.slice(i - Math.min(half, i), i + Math.min(half, i) + 1);
    return [x, part.reduce((sum, [, y]) => sum + y, 0) / part.length] as const;
  });
}

/** An interval of some length, also for a single value. */
function widen(low: number, high: number): [number, number] {
  if (high > low) return [low, high];
  const margin = Math.abs(low) * 0.1 || 0.5;
  return [low - margin, high + margin];
}

/** Multiples of 1, 2 or 5 times a power of ten: enclosing [low, high], or within it. */
function roundTicks(low: number, high: number, about: number, enclosing: boolean): number[] {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999) ?? 10 * power;
  const first = enclosing ? Math.floor(low / step + 1e-6) : Math.ceil(low / step - 1e-6);
  const last = enclosing ? Math.ceil(high / step - 1e-6) : Math.floor(high / step + 1e-6);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** As many decimals as tell the ticks apart. */
function tickLabel(value: number, ticks: readonly number[], format?: (value: number) => string): string {
  if (format) return format(value);
  const step = Math.abs((ticks[1] ?? 1) - (ticks[0] ?? 0));
  const largest = Math.max(...ticks.map(Math.abs));
  if (largest >= 1e4 || largest < 1e-3) return compactNumber(value);
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const exact = Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) < 1e-6;
  return value.toFixed(exact ? decimals : decimals + 1);
}

function trimZeros(text: string): string {
  return text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text;
}

function coordinate(value: number): string {
  return trimZeros(value.toFixed(1));
}
