/** Two values a row joined by a bar, as inline SVG. Colours come from the page's style sheet. */
import { coordinate, tickLabels, ticksAround, widen } from './axis.js';
import { escapeHtml } from './text.js';

export interface DumbbellChart {
  readonly rows: readonly { readonly label: string; readonly from: number; readonly to: number }[];
  readonly fromLabel: string;
  readonly toLabel: string;
  readonly xLabel: string;
  readonly format: (value: number) => string;
  readonly formatChange: (value: number) => string;
}

const WIDTH = 420;

/** Two values a row joined by a bar: before (hollow) and after (solid), the change written at the end. */
export function dumbbellChart(chart: DumbbellChart): string {
  const rowHeight = 46;
  const top = 34;
  const height = top + rowHeight * chart.rows.length + 46;
  const left = 78;
  const right = 56;
  const values = chart.rows.flatMap(({ from, to }) => [from, to]);
  const ticks = ticksAround(...widen(Math.min(...values), Math.max(...values)));
  const tickTexts = tickLabels(ticks);
  const low = ticks[0] ?? 0;
  const high = ticks.at(-1) ?? 1;
  const toX = (x: number): number => left + ((x - low) / (high - low)) * (WIDTH - left - right);
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
      `<text class="change${to < from ? ' loss' : ''}" x="${coordinate(toX(to) + outward * 14)}" y="${y + 4}" text-anchor="${outward > 0 ? 'start' : 'end'}">${escapeHtml(chart.formatChange(to - from))}</text>`
    );
  });
  const grid = ticks.map(
    (x, i) =>
      `<line class="grid" x1="${coordinate(toX(x))}" x2="${coordinate(toX(x))}" y1="${top - 6}" y2="${bottom}"/>` +
      `<text class="tick" x="${coordinate(toX(x))}" y="${bottom + 16}" text-anchor="middle">${escapeHtml(tickTexts[i] ?? '')}</text>`,
  );
  const axis = `<text class="label" x="${(left + WIDTH - right) / 2}" y="${bottom + 33}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>`;
  const key =
    `<circle class="hollow" cx="${left + 5}" cy="9" r="5"/><text class="label" x="${left + 16}" y="13">${escapeHtml(chart.fromLabel)}</text>` +
    `<circle class="end first" cx="${left + 165}" cy="9" r="5.5"/><text class="label" x="${left + 177}" y="13">${escapeHtml(chart.toLabel)}</text>`;
  return `<svg class="dumbbell" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(`${chart.toLabel} against ${chart.fromLabel}`)}">${grid.join('')}${axis}${rows.join('')}${key}</svg>`;
}
