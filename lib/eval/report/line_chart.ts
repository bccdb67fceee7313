/**
 * Line charts as inline SVG: axes with round ticks, a legend where it is needed, and values under the pointer without any
 * script. Colours come from the page's style sheet, so one drawing serves light, dark and paper.
 */
import { coordinate, roundStep, tickLabels, ticksAround, ticksWithin, widen } from './axis.js';
import { compactNumber, escapeHtml } from './text.js';

export type SeriesColour = 'first' | 'second' | 'third';

export interface Series {
  readonly label: string;
  readonly colour: SeriesColour;
  readonly points: readonly Point[]; // ascending x, integers
}

export type Point = readonly [x: number, y: number];

export interface LineChart {
  readonly title: string;
  /** One or two sentences on how to read it. */
  readonly about?: string;
  readonly xLabel: string;
  readonly series: readonly Series[];
  /** How values are written; ticks find their own decimals. */
  readonly format?: (value: number) => string;
  /** The axis reaches at least these values. */
  readonly include?: readonly number[];
  /** Draws a moving average over the pale measured line. */
  readonly smooth?: boolean;
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
  const end = Math.max(...xs);
  const [left, right] =
    first < end ? [first < 0.1 * end ? Math.min(0, first) : first, end] : [end - 0.5, end + 0.5];
  const yTicks = ticksAround(...widen(Math.min(...ys), Math.max(...ys)));
  const yLabels = tickLabels(yTicks);
  const xTicks = ticksWithin(left, right, Math.ceil(roundStep(left, right))); // x counts
  const xLabels = tickLabels(xTicks);
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
      (y, i) =>
        `<line class="${y === low ? 'axis' : 'grid'}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${coordinate(toY(y))}" y2="${coordinate(toY(y))}"/>` +
        `<text class="tick" x="${LEFT - 8}" y="${coordinate(toY(y) + 4)}" text-anchor="end">${escapeHtml(yLabels[i] ?? '')}</text>`,
    ),
    ...xTicks.map(
      (x, i) =>
        `<line class="axis" x1="${coordinate(toX(x))}" x2="${coordinate(toX(x))}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM + 4}"/>` +
        `<text class="tick" x="${coordinate(toX(x))}" y="${HEIGHT - BOTTOM + 17}" text-anchor="middle">${xLabels[i] ?? ''}</text>`,
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
    const words = `${Math.round(x)}: ${lines.join(' · ')}`;
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
