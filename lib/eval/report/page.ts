/** The report of a run: one HTML file without scripts, with every picture inside. `capi report` and the demo share it. */
import { writeFile } from 'node:fs/promises';
import { chartSections } from './chart_sections.js';
import { configSection } from './config_section.js';
import type { ReportData } from './data.js';
import { header } from './header.js';
import { featureSection, maskSection } from './picture_sections.js';
import { probeSection } from './probe_section.js';
import { REPORT_STYLE } from './style.js';
import { escapeHtml } from './text.js';

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
