/** The sections of curves: which metrics are drawn, how to read them, and their charts. */
import type { ReportMetrics } from './data.js';
import { type LineChart, lineChart, type Point, type Series, type SeriesColour } from './line_chart.js';
import { compactNumber } from './text.js';

interface MetricSeries {
  readonly label: string;
  readonly value: (line: ReportMetrics) => number | null | undefined;
}

interface MetricChart extends Omit<LineChart, 'series' | 'xLabel' | 'include'> {
  readonly series: readonly MetricSeries[];
  readonly include?: (numClusters: number | undefined) => readonly number[];
}

const SECTIONS: readonly {
  readonly title: string;
  readonly lead: string;
  readonly charts: readonly MetricChart[];
}[] = [
  {
    title: 'How it learned',
    lead: 'Pale lines are the logged values, dark ones their moving average.',
    charts: [
      {
        title: 'CAPI loss',
        about:
          'Cross-entropy of the predicted clusters. The entropy of the targets bounds it from below: flat is not stalled.',
        series: [{ label: 'CAPI loss', value: (line) => line.capi_loss }],
        smooth: true,
      },
      {
        title: 'Clustering loss',
        about: 'Trains the prototypes to agree with the balanced assignments.',
        series: [{ label: 'clustering loss', value: (line) => line.clustering_loss }],
        smooth: true,
      },
      {
        title: 'Target entropy',
        about: 'In nats. Near 0 a target is one cluster; near the logarithm of their number it says nothing.',
        series: [{ label: 'target entropy', value: (line) => line.target_entropy }],
        smooth: true,
      },
    ],
  },
  {
    title: 'Was it healthy',
    lead: 'The failures this method knows, each with the number that shows it.',
    charts: [
      {
        title: 'Prototypes',
        about: 'Effective: the exponential of the entropy of their use. Dead ones attract no patch.',
        series: [
          { label: 'effective', value: (line) => line.effective_prototypes },
          { label: 'dead', value: (line) => line.dead_prototypes },
        ],
        include: (numClusters) => (numClusters ? [0, numClusters] : [0]),
      },
      {
        title: 'Positional collapse',
        about:
          'Share of the variance of patch features that their position alone explains. Towards 1, content is lost.',
        series: [{ label: 'positional collapse', value: (line) => line.positional_collapse }],
        include: () => [0, 1],
        format: (value) => value.toFixed(2),
      },
      {
        title: 'Waiting for data',
        about: 'Percent of an iteration in which the cores wait for images.',
        series: [{ label: 'share', value: dataWaitPercent }],
        include: () => [0, 5],
        format: (value) => `${compactNumber(Number(value.toPrecision(2)))} %`,
      },
      {
        title: 'Images a second',
        series: [
          {
            label: 'images/s',
            value: ({ current_batch_size: n, iter_time: s }) => (n && s ? n / s : undefined),
          },
        ],
        include: () => [0],
        smooth: true,
      },
      {
        title: 'Learning rate',
        series: [{ label: 'learning rate', value: (line) => line.lr }],
        include: () => [0],
      },
      {
        title: 'EMA momentum',
        series: [{ label: 'momentum', value: (line) => line.mom }],
        format: (value) => value.toFixed(3),
      },
    ],
  },
];

function dataWaitPercent(line: ReportMetrics): number | undefined {
  const { data_wait_share: share, data_time: wait, iter_time: whole } = line;
  if (typeof share === 'number') return 100 * share;
  return typeof wait === 'number' && whole ? (100 * wait) / whole : undefined;
}

export function chartSections(metrics: readonly ReportMetrics[], numClusters: number | undefined): string[] {
  return SECTIONS.map(({ title, lead, charts }) => {
    const figures = charts
      .map((chart) => metricChart(chart, metrics, numClusters))
      .filter((html) => html !== '');
    if (figures.length === 0) return '';
    return `<section><h2>${title}</h2><p class="lead">${lead}</p><div class="charts">${figures.join('')}</div></section>`;
  });
}

function metricChart(
  chart: MetricChart,
  metrics: readonly ReportMetrics[],
  numClusters: number | undefined,
): string {
  const colours: readonly SeriesColour[] = ['first', 'second', 'third'];
  const series = chart.series.flatMap(({ label, value }, i): Series[] => {
    const points = metrics.flatMap((line): Point[] => {
      const y = value(line);
      return typeof y === 'number' && Number.isFinite(y) ? [[line.iteration, y]] : [];
    });
    return points.length > 0 ? [{ label, points, colour: colours[i] ?? 'first' }] : [];
  });
  if (series.length === 0) return '';
  const { include, ...rest } = chart;
  return lineChart({
    ...rest,
    series,
    xLabel: 'iteration',
    ...(include ? { include: include(numClusters) } : {}),
  });
}
