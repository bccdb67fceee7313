/** `capi report`: a run as one HTML file. */
import { basename, join, resolve } from 'node:path';
import { writeReport } from '../eval/report/page.js';
import { runReport } from '../train/run_report.js';

export async function reportCommand(run: string, options: { output?: string }) {
  const output = options.output ?? join(run, 'report.html');
  await writeReport(output, await runReport(run, basename(resolve(run))));
  console.error(`report: ${output}`);
}
