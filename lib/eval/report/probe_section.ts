/** What a linear classifier reads off the features, before and after training: tiles, a chart, a table, a verdict. */
import type { ProbeReport, ProbeScores, ReportTile } from './data.js';
import { dumbbellChart } from './dumbbell_chart.js';
import { escapeHtml, grouped, percent, signed } from './text.js';

export function probeTiles({ initial, trained }: ProbeReport): ReportTile[] {
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

export function probeSection(probe: ProbeReport): string {
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
