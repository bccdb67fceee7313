/** The stages of a check: folders of test files in the bundle, and some of these again under the sanitizer. */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { packageRoot } from '../../lib/native/package_root.js';
import { printFile, type StageResult, type TestResult } from './report.js';
import { findSanitizer, sanitize, sanitizedOps, tools } from './sanitizer.js';
import { runTestFile } from './test_process.js';

const tests = join(packageRoot(), 'js', 'tests');

export interface StageOptions {
  readonly interpreter: boolean;
  /** '' for all. */
  readonly only: string;
  /** '' for none. */
  readonly golden: string;
}

/** Part of a stage: the tests of one file. */
interface Part {
  readonly name: string;
  run(): Promise<readonly TestResult[]>;
}

export async function runStages(
  { interpreter, only, golden }: StageOptions,
  onStage: (stage: StageResult) => void,
): Promise<void> {
  const run = async (name: string, parts: readonly Part[]) => onStage(await runStage(name, parts, only));
  for (const name of ['ops', 'graph', 'trajectory', 'demo']) await run(name, testFiles(name));

  if (golden !== '') await run('conformance', testFiles('conformance'));
  else onStage(notRun('conformance', 'no golden files; --golden <folder> names some'));

  const sanitizer = findSanitizer(process.env);
  if (interpreter) onStage(notRun('sanitizer', 'the interpreter checks every access itself'));
  else if (sanitizer === undefined) onStage(notRun('sanitizer', 'no compute-sanitizer'));
  else await run('sanitizer', sanitizedFiles(sanitizer, only));
}

async function runStage(name: string, parts: readonly Part[], only: string): Promise<StageResult> {
  const began = performance.now();
  console.log(name);
  const results: TestResult[] = [];
  for (const part of parts) {
    const start = performance.now();
    const ofPart = await part.run();
    if (ofPart.length > 0) printFile(part.name, ofPart, (performance.now() - start) / 1000);
    results.push(...ofPart);
  }
  if (results.length === 0) return notRun(name, `no test holds "${only}"`);
  const state = results.every(({ passed }) => passed) ? 'passed' : 'failed';
  return { name, state, seconds: (performance.now() - began) / 1000, tests: results };
}

function notRun(name: string, reason: string): StageResult {
  return { name, state: 'not run', reason, seconds: 0, tests: [] };
}

function testFiles(stage: string): Part[] {
  const folder = join(tests, stage);
  return readdirSync(folder)
    .sort()
    .map((file) => ({ name: basename(file, '.js'), run: () => runTestFile(join(folder, file)) }));
}

function sanitizedFiles(sanitizer: string, only: string): Part[] {
  return tools
    .flatMap((tool) => sanitizedOps.map((op) => ({ tool, op, name: `${tool} ${op}` })))
    .filter(({ name }) => name.includes(only))
    .map(({ tool, op, name }) => ({
      name,
      run: async () => [sanitize(sanitizer, tool, join(tests, 'ops', `${op}.js`))],
    }));
}
