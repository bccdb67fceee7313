import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { tickLabels } from '../../lib/eval/report/axis.js';
import type { ReportData } from '../../lib/eval/report/data.js';
import { lineChart } from '../../lib/eval/report/line_chart.js';
import { renderReport, writeReport } from '../../lib/eval/report/page.js';
import { compactNumber } from '../../lib/eval/report/text.js';

const pixels = { data: new Uint8Array(8 * 8 * 3).fill(200), width: 8, height: 8 };
const metrics = Array.from({ length: 30 }, (_, i) => ({
  iteration: i * 20 + 19,
  capi_loss: 5 - i / 30,
  clustering_loss: i === 3 ? null : 9 - i / 10,
  target_entropy: 1.9,
  effective_prototypes: 100 + i,
  dead_prototypes: 3,
  positional_collapse: 0.1,
  iter_time: 0.1,
  data_time: 0.001,
  current_batch_size: 32,
}));
const full: ReportData = {
  title: 'A <run> & its "report"',
  summary: 'It learned.',
  tiles: [{ value: '320', unit: 'images/s', label: 'speed' }],
  facts: [{ label: 'Seed', value: '0' }],
  command: 'capi train x.yaml',
  metrics,
  numClusters: 128,
  masks: [{ image: pixels, gridRows: 2, gridCols: 2, visible: [0, 3], predicted: Int32Array.of(1) }],
  features: [{ image: pixels, perImage: pixels, joint: pixels, initial: pixels, caption: 'bag' }],
  probe: {
    initial: { logistic: [{ C: 1, accuracy: 0.675 }], neighbours: 0.552 },
    trained: { logistic: [{ C: 1, accuracy: 0.8 }], neighbours: 0.774 },
    trainImages: 5000,
    testImages: 2000,
    required: { C: 1, points: 10, neighboursPoints: 12 },
  },
  config: 'optim:\n  total_iters: 3500 # <few>\n',
};

describe('the report', () => {
  it('holds every section and refers to nothing outside itself', async () => {
    const html = await renderReport(full);
    for (const words of [
      'What the features know',
      'Margin reached',
      '+12.5',
      'What it sees',
      'What it is asked',
      'CAPI loss',
      'Clustering loss',
      'Target entropy',
      'Prototypes',
      'Positional collapse',
      'Waiting for data',
      'Configuration',
      '<span class="k">total_iters</span>',
    ]) {
      expect(html).toContain(words);
    }
    expect(html).not.toMatch(/https?:|<script|<link|@import|url\(/);
    expect(html).not.toMatch(/NaN|undefined|Infinity/);
    expect(html).toContain('A &#60;run&#62; &#38; its &#34;report&#34;');
    expect(html).not.toContain('<few>');
  });

  it('carries the pictures as PNG', async () => {
    const [, data] = (await renderReport(full)).match(/src="data:image\/png;base64,([^"]+)"/) ?? [];
    const { info, data: bytes } = await sharp(Buffer.from(data!, 'base64'))
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 8, height: 8 });
    expect(bytes[0]).toBe(200);
  });

  it('covers the hidden patches and outlines the predicted ones', async () => {
    const html = await renderReport({ title: 'masks', masks: full.masks! });
    expect(html).toContain('<path class="veil" d="M1 0h1v1h-1zM0 1h1v1h-1z"/>');
    expect(html.match(/<rect class="predict"/g)).toHaveLength(1);
  });

  it('leaves out the sections without data', async () => {
    const html = await renderReport({ title: 'bare' });
    expect(html).toContain('<h1>bare</h1>');
    expect(html).not.toContain('<section>');
  });

  it('says when the margin is missed', async () => {
    const required = { C: 1, points: 20 };
    expect(await renderReport({ title: 't', probe: { ...full.probe!, required } })).toContain(
      'Margin missed',
    );
  });

  it('shows a loss as a loss in the chart and in the table', async () => {
    const { initial, trained } = full.probe!;
    const shown = async (probe: ReportData['probe']) => {
      const html = await renderReport({ title: 't', probe: { ...probe!, required: undefined } as never });
      return { chart: html.match(/<text class="change[^"]*"/g), cells: html.match(/<td class="\w+"/g) };
    };
    expect(await shown(full.probe)).toEqual({
      chart: Array(2).fill('<text class="change"'),
      cells: Array(2).fill('<td class="gain"'),
    });
    expect(await shown({ ...full.probe!, initial: trained, trained: initial })).toEqual({
      chart: Array(2).fill('<text class="change loss"'),
      cells: Array(2).fill('<td class="loss"'),
    });
  });

  it('is written to the path given', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'report-'));
    try {
      await writeReport(join(folder, 'report.html'), full);
      expect(readFileSync(join(folder, 'report.html'), 'utf8')).toBe(await renderReport(full));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('charts', () => {
  it('draw one point, equal points and very many', () => {
    const draw = (count: number, y: number): string =>
      lineChart({
        title: 'c',
        xLabel: 'x',
        smooth: true,
        series: [
          { label: 's', colour: 'first', points: Array.from({ length: count }, (_, i) => [i, y] as const) },
        ],
      });
    for (const html of [draw(1, 3), draw(50, 0), draw(100_000, 1e-7)]) {
      expect(html).toContain('<svg');
      expect(html).not.toMatch(/NaN|Infinity|undefined/);
      expect(html.length).toBeLessThan(60_000);
    }
    expect(draw(0, 0)).toBe('');
  });

  const ticksOf = (html: string, anchor: 'middle' | 'end') =>
    [...html.matchAll(/<text class="tick"[^>]*text-anchor="(\w+)">([^<]*)/g)]
      .filter(([, where]) => where === anchor)
      .map(([, , label]) => label);

  it.each([
    [[0, 1], 4.1],
    [[0, 3], 0.999],
    [[0], 4.1],
    [[12_340], 12_340],
    [[12_340, 12_347], 10_001],
    [[0, 12], 1e-4],
  ])('of iterations %j have different labels, and whole iterations', (xs, y) => {
    const points = xs.map((x, i) => [x, y * (1 + i / 1e4)] as const);
    const html = lineChart({ title: 'c', xLabel: 'x', series: [{ label: 's', colour: 'first', points }] });
    for (const anchor of ['middle', 'end'] as const) {
      const labels = ticksOf(html, anchor);
      expect(labels.length).toBeGreaterThan(0);
      expect(new Set(labels).size).toBe(labels.length);
    }
    for (const label of ticksOf(html, 'middle')) expect(label).toMatch(/^\d+$/);
  });

  it.each([
    [
      [0, 5000, 10_000],
      ['0', '5000', '10k'],
    ],
    [
      [12_340, 12_350],
      ['12340', '12350'],
    ],
    [
      [0, 2.5],
      ['0.0', '2.5'],
    ],
    [
      [0, 0.000_125, 0.000_25],
      ['0', '1.25e-4', '2.5e-4'],
    ],
  ])('label %j as %j', (ticks, labels) => {
    expect(tickLabels(ticks)).toEqual(labels);
  });

  it.each([
    [0, '0'],
    [950, '950'],
    [3500, '3500'],
    [12_500, '12.5k'],
    [3_000_000, '3M'],
    [0.0312, '0.0312'],
    [2e-5, '2e-5'],
    [100, '100'],
  ])('write %d as %s', (value, text) => {
    expect(compactNumber(value)).toBe(text);
  });
});
