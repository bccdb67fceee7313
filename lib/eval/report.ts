/**
 * The report of a run: one HTML file without scripts, with every picture inside, from a plain object. Only the
 * title is required; a section appears when its data is there, so `capi report` and the demo share it.
 */
import { writeFile } from 'node:fs/promises';
import sharp from 'sharp';
import {
  compactNumber,
  dumbbellChart,
  escapeHtml,
  type LineChart,
  lineChart,
  type Point,
  type Series,
  type SeriesColour,
} from './charts.js';
import { REPORT_STYLE } from './report_style.js';

/** A line of `training_metrics.json`; keys that are missing or null leave a gap. */
export type ReportMetrics = { readonly iteration: number } & Readonly<
  Record<string, number | null | undefined>
>;

/** RGB bytes, row-major: [height, width, 3]. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface ReportTile {
  readonly value: string; // "279"
  readonly unit?: string; // "images/s"
  readonly label: string; // "training speed"
  readonly note?: string; // "2 threads, AVX2, float32"
}

export interface ReportFact {
  readonly label: string;
  readonly value: string;
}

export interface MaskPicture {
  readonly image: Pixels;
  readonly gridRows: number;
  readonly gridCols: number;
  /** Positions in [0, gridRows * gridCols). */
  readonly visible: ArrayLike<number>;
  readonly predicted: ArrayLike<number>;
  readonly caption?: string;
}

/** One image and its patch features as colours; each grid is RGB with one pixel a patch. */
export interface FeaturePicture {
  readonly image: Pixels;
  readonly perImage?: Pixels; // components of this image alone
  readonly joint?: Pixels; // components shared by all pictures
  readonly initial?: Pixels; // shared components before training
  readonly caption?: string;
}

/** Accuracies in [0, 1] on held-out images. */
export interface ProbeScores {
  readonly logistic: readonly { readonly C: number; readonly accuracy: number }[];
  readonly neighbours?: number; // 10 nearest by cosine
}

export interface ProbeReport {
  readonly initial: ProbeScores; // the same encoder before training
  readonly trained: ProbeScores;
  readonly trainImages: number;
  readonly testImages: number;
  readonly classes?: number;
  /** Said under the table as met or missed: points by which `trained` must lead at `C`. */
  readonly required?: { readonly C: number; readonly points: number; readonly neighboursPoints?: number };
  readonly note?: string;
}

export interface ReportData {
  readonly title: string;
  readonly kicker?: string; // small line over the title, "CAPI pretraining" when absent
  readonly summary?: string; // a sentence or two: what was run and what came of it
  readonly tiles?: readonly ReportTile[];
  readonly facts?: readonly ReportFact[];
  readonly command?: string; // that repeats the run
  readonly metrics?: readonly ReportMetrics[];
  readonly numClusters?: number; // draws the prototypes against their number
  readonly masks?: readonly MaskPicture[];
  readonly features?: readonly FeaturePicture[];
  readonly probe?: ProbeReport;
  readonly config?: string; // resolved, as YAML
  readonly warnings?: readonly string[];
  readonly footer?: string;
}

export async function writeReport(path: string, data: ReportData): Promise<void> {
  await writeFile(path, await renderReport(data));
}

export async function renderReport(data: ReportData): Promise<string> {
  const sections = [
    data.probe ? probeSection(data.probe) : '',
    await featureSection(data.features ?? []),
    await maskSection(data.masks ?? []),
    ...chartSections(data.metrics ?? [], data.numClusters),
    data.config ? configSection(data.config) : '',
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(data.title)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<main>
${header(data)}
${sections.filter((section) => section !== '').join('\n')}
${data.footer ? `<footer>${escapeHtml(data.footer)}</footer>` : ''}
</main>
</body>
</html>
`;
}

function header(data: ReportData): string {
  const tiles = [...(data.probe ? probeTiles(data.probe) : []), ...(data.tiles ?? [])];
  const tile = ({ value, unit, label, note }: ReportTile): string =>
    `<div class="tile"><b>${escapeHtml(value)}${unit ? `<small>${escapeHtml(unit)}</small>` : ''}</b>` +
    `<span>${escapeHtml(label)}</span>${note ? `<em>${escapeHtml(note)}</em>` : ''}</div>`;
  const fact = ({ label, value }: ReportFact): string =>
    `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`;
  return [
    `<header><p class="kicker">${escapeHtml(data.kicker ?? 'CAPI pretraining')}</p><h1>${escapeHtml(data.title)}</h1>`,
    data.summary ? `<p class="summary">${escapeHtml(data.summary)}</p>` : '',
    tiles.length ? `<div class="tiles">${tiles.map(tile).join('')}</div>` : '',
    ...(data.warnings ?? []).map((text) => `<p class="verdict missed"><b>Note</b> ${escapeHtml(text)}</p>`),
    data.facts?.length ? `<dl class="facts">${data.facts.map(fact).join('')}</dl>` : '',
    data.command ? `<div class="command">${escapeHtml(data.command)}</div>` : '',
    '</header>',
  ].join('');
}

function probeTiles({ initial, trained }: ProbeReport): ReportTile[] {
  const last = trained.logistic.at(-1);
  const before = initial.logistic.find(({ C }) => C === last?.C);
  if (!last || !before) return [];
  const points = 100 * (last.accuracy - before.accuracy);
  return [
    {
      value: percent(last.accuracy),
      unit: '%',
      label: 'linear probe',
      note: `held-out accuracy, C = ${last.C}`,
    },
    {
      value: signed(points),
      unit: 'points',
      label: 'over random weights',
      note: `from ${percent(before.accuracy)} %`,
    },
  ];
}

/** As it is printed, so that differences agree with what they are differences of. */
function shown(accuracy: number): number {
  return Math.round(1000 * accuracy) / 1000;
}

function probeSection(probe: ProbeReport): string {
  const { initial, trained, required } = probe;
  const rows = trained.logistic.flatMap(({ C, accuracy }) => {
    const before = initial.logistic.find((score) => score.C === C);
    return before
      ? [{ label: `C = ${C}`, from: shown(before.accuracy), to: shown(accuracy), chosen: C === required?.C }]
      : [];
  });
  if (trained.neighbours !== undefined && initial.neighbours !== undefined) {
    const [from, to] = [shown(initial.neighbours), shown(trained.neighbours)];
    rows.push({ label: '10-NN', from, to, chosen: false });
  }
  if (rows.length === 0) return '';
  const table = rows
    .map(({ label, from, to, chosen }) => {
      const points = 100 * (to - from);
      return (
        `<tr${chosen ? ' class="chosen"' : ''}><td>${escapeHtml(label)}</td><td>${percent(from)}</td><td>${percent(to)}</td>` +
        `<td class="${points >= 0 ? 'gain' : 'loss'}">${signed(points)}</td></tr>`
      );
    })
    .join('');
  const chart = dumbbellChart({
    rows: rows.map(({ label, from, to }) => ({ label, from: 100 * from, to: 100 * to })),
    fromLabel: 'random initialisation',
    toLabel: 'trained',
    xLabel: 'accuracy, %',
    format: (value) => value.toFixed(1),
    formatChange: signed,
  });
  const classes = probe.classes ? ` into ${probe.classes} classes` : '';
  return (
    `<section><h2>What the features know</h2><p class="lead">The encoder is frozen. Multinomial logistic regression on the mean of its patch ` +
    `features sorts ${grouped(probe.testImages)} held-out images${classes} after seeing ${grouped(probe.trainImages)} labelled ones; ` +
    `so does a vote of the ten nearest neighbours. No label was used in pretraining.</p><div class="split"><div>${chart}</div><div>` +
    `<table><thead><tr><th>probe</th><th>random<br>initialisation, %</th><th>trained, %</th><th>points</th></tr></thead><tbody>${table}</tbody></table>` +
    `${verdict(probe)}${probe.note ? `<p class="note">${escapeHtml(probe.note)}</p>` : ''}</div></div></section>`
  );
}

function verdict({ initial, trained, required }: ProbeReport): string {
  if (!required) return '';
  const at = ({ logistic }: ProbeScores): number =>
    logistic.find(({ C }) => C === required.C)?.accuracy ?? Number.NaN;
  const checks = [
    { name: `C = ${required.C}`, points: 100 * (at(trained) - at(initial)), wanted: required.points },
  ];
  if (required.neighboursPoints !== undefined) {
    const points = 100 * ((trained.neighbours ?? Number.NaN) - (initial.neighbours ?? Number.NaN));
    checks.push({ name: '10-NN', points, wanted: required.neighboursPoints });
  }
  const met = checks.every(({ points, wanted }) => points >= wanted);
  const words = checks.map(({ name, points, wanted }) => `${name}: ${signed(points)} of at least +${wanted}`);
  return `<p class="verdict${met ? '' : ' missed'}"><b>${met ? 'Margin reached.' : 'Margin missed.'}</b> ${escapeHtml(words.join(' · '))} points.</p>`;
}

async function featureSection(pictures: readonly FeaturePicture[]): Promise<string> {
  if (pictures.length === 0) return '';
  const rows: { title: string; about: string; pixels: (picture: FeaturePicture) => Pixels | undefined }[] = [
    { title: 'Image', about: '', pixels: ({ image }) => image },
    { title: 'Trained', about: 'components of each image alone', pixels: ({ perImage }) => perImage },
    { title: 'Trained', about: 'components shared by all images', pixels: ({ joint }) => joint },
    {
      title: 'Random initialisation',
      about: 'components shared by all images',
      pixels: ({ initial }) => initial,
    },
  ];
  const strips: string[] = [];
  for (const { title, about, pixels } of rows) {
    const cells: string[] = [];
    for (const picture of pictures) {
      const own = pixels(picture);
      if (!own) continue;
      const alt = `${title}${about ? `, ${about}` : ''}${picture.caption ? `: ${picture.caption}` : ''}`;
      const caption =
        title === 'Image' && picture.caption ? `<figcaption>${escapeHtml(picture.caption)}</figcaption>` : '';
      cells.push(
        `<figure class="picture"><img src="${await pngUri(own)}" width="${own.width}" height="${own.height}" alt="${escapeHtml(alt)}">${caption}</figure>`,
      );
    }
    if (cells.length === 0) continue;
    const label = about ? `${escapeHtml(title)} <span>· ${escapeHtml(about)}</span>` : escapeHtml(title);
    strips.push(`<p class="strip-label">${label}</p>${strip(cells)}`);
  }
  return (
    `<section><h2>What it sees</h2><p class="lead">The first three principal components of the patch features as red, green and blue. ` +
    `Patches of one colour mean the same to the encoder; with shared components that holds between images too.</p>` +
    `<div class="scroller">${strips.join('')}</div></section>`
  );
}

async function maskSection(masks: readonly MaskPicture[]): Promise<string> {
  if (masks.length === 0) return '';
  const cells: string[] = [];
  for (const mask of masks) cells.push(await maskPicture(mask));
  const first = masks[0] as MaskPicture;
  const total = first.gridRows * first.gridCols;
  const counts = `${first.visible.length} of ${total} patches are visible, ${first.predicted.length} of the hidden ones are predicted`;
  return (
    `<section><h2>What it is asked</h2><p class="lead">The student encodes the visible patches only; the predictor then names the cluster ` +
    `of some hidden ones. Here ${counts}.</p><div class="scroller">${strip(cells)}</div>` +
    `<p class="key"><span><i class="seen"></i>visible</span><span><i class="hidden"></i>hidden</span><span><i class="asked"></i>predicted</span></p></section>`
  );
}

async function maskPicture(mask: MaskPicture): Promise<string> {
  const { gridRows, gridCols, image } = mask;
  const visible = new Set(Array.from(mask.visible));
  const hidden = Array.from({ length: gridRows * gridCols }, (_, t) => t).filter((t) => !visible.has(t));
  const at = (t: number): string => `M${t % gridCols} ${Math.floor(t / gridCols)}h1v1h-1z`;
  const inset = 0.09;
  const boxes = Array.from(mask.predicted, (t) => {
    const x = (t % gridCols) + inset;
    const y = Math.floor(t / gridCols) + inset;
    const side = 1 - 2 * inset;
    return `<rect class="predict" x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${side}" height="${side}" rx=".1" stroke-width=".1"/>`;
  });
  const caption = mask.caption ? `<figcaption>${escapeHtml(mask.caption)}</figcaption>` : '';
  return (
    `<figure class="picture"><svg viewBox="0 0 ${gridCols} ${gridRows}" role="img" aria-label="Mask${mask.caption ? ` of ${escapeHtml(mask.caption)}` : ''}">` +
    `<image href="${await pngUri(image)}" width="${gridCols}" height="${gridRows}" preserveAspectRatio="none"/>` +
    `<path class="veil" d="${hidden.map(at).join('')}"/>${boxes.join('')}</svg>${caption}</figure>`
  );
}

function strip(cells: readonly string[]): string {
  return `<div class="strip" style="--count:${cells.length}">${cells.join('')}</div>`;
}

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
        about: 'Share of an iteration in which the cores wait for images.',
        series: [{ label: 'share', value: dataWaitShare }],
        include: () => [0, 0.05],
        format: (value) => `${compactNumber(Number((100 * value).toPrecision(2)))} %`,
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

function dataWaitShare(line: ReportMetrics): number | null | undefined {
  const { data_wait_share: share, data_time: wait, iter_time: whole } = line;
  if (typeof share === 'number') return share;
  return typeof wait === 'number' && whole ? wait / whole : undefined;
}

function chartSections(metrics: readonly ReportMetrics[], numClusters: number | undefined): string[] {
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

function configSection(config: string): string {
  const lines = config
    .trimEnd()
    .split('\n')
    .map((line) =>
      escapeHtml(line)
        .replace(/^(\s*(?:- )?)([\w.-]+):/, '$1<span class="k">$2</span>:')
        .replace(/(^|\s)(#(?!\d+;).*)$/, '$1<span class="c">$2</span>'),
    );
  return `<section><h2>Configuration</h2><p class="lead">Resolved: with every default filled in.</p><details><summary>Show ${lines.length} lines</summary><pre>${lines.join('\n')}</pre></details></section>`;
}

async function pngUri({ data, width, height }: Pixels): Promise<string> {
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toBuffer();
  return `data:image/png;base64,${png.toString('base64')}`;
}

function percent(share: number): string {
  return (100 * share).toFixed(1);
}

function signed(points: number): string {
  return `${points >= 0 ? '+' : '−'}${Math.abs(points).toFixed(1)}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US').replaceAll(',', ' ');
}
