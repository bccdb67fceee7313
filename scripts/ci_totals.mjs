// `tests: N passed, N failed, N skipped`, over the jest results and the conformance log of one .ci/run. Fails when there
// are none, or when a test file could not be run.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const totals = { passed: 0, failed: 0, skipped: 0 };

for (const file of readdirSync(join(folder, 'results'))) {
  const result = JSON.parse(readFileSync(join(folder, 'results', file), 'utf8'));
  totals.passed += result.numPassedTests;
  totals.failed += result.numFailedTests + result.numRuntimeErrorTestSuites;
  totals.skipped += result.numPendingTests + result.numTodoTests;
}

const conformance = join(folder, 'conformance.log');
if (existsSync(conformance)) {
  const counts = /^conformance: (\d+) passed, (\d+) failed/m.exec(readFileSync(conformance, 'utf8'));
  totals.passed += Number(counts?.[1] ?? 0);
  totals.failed += Number(counts?.[2] ?? 1);
}

console.log(`tests: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
if (totals.passed === 0 || totals.failed > 0) process.exitCode = 1;
