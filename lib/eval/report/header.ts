/** The top of the page: title, tiles, warnings, facts, the command. */
import type { ReportData, ReportFact, ReportTile } from './data.js';
import { probeTiles } from './probe_section.js';
import { escapeHtml } from './text.js';

export function header(data: ReportData): string {
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
