/** Replays a golden folder: every file by its checker, every tensor of a file compared or used. */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkerOf } from './checkers.js';
import { GoldenFile } from './golden_file.js';
import { Checks, Report } from './report.js';

const suffix = '.safetensors';

/** Prints a row for each check and a summary. Returns the exit code: 0 only if something was checked and all passed. */
export async function conform(folder: string, print: (line: string) => void): Promise<number> {
  const report = new Report(print);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    report.fail(folder, `cannot be read: ${message(error)}`);
    return [];
  });
  // The folder may describe itself; everything else in it must be understood.
  const files = entries.filter(({ name }) => name !== 'README.md').sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name } of files) await checkFile(join(folder, name), report);
  print(`conformance: ${report.passed} passed, ${report.failed} failed`);
  if (report.rows.length === 0) print(`nothing was checked: ${folder} holds no golden file`);
  return report.rows.length > 0 && report.failed === 0 ? 0 : 1;
}

/** One golden file by its checker. Adds at least one row to the report. */
export async function checkFile(path: string, report: Report): Promise<void> {
  const name = basename(path);
  const checker = name.endsWith(suffix) ? checkerOf(name.slice(0, -suffix.length)) : undefined;
  if (!checker) {
    report.fail(name, 'unknown file: no checker has this name');
    return;
  }
  let file: GoldenFile;
  try {
    file = await GoldenFile.read(path);
  } catch (error) {
    report.fail(path, message(error));
    return;
  }
  const before = report.rows.length;
  try {
    await checker(file, new Checks(file, report));
  } catch (error) {
    report.fail(file.name, `stopped: ${message(error)}`);
    return;
  }
  for (const name of file.unread) report.fail(file.name, `nothing looked at ${name}`);
  if (report.rows.length === before) report.fail(file.name, 'nothing in it was checked');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
