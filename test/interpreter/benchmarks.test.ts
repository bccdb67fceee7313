/** The benchmarks on the CUDA backend at their smallest sizes: that they run, not how fast. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/package_root.js';
import { TemporaryFolder } from '../support/images.js';

function bench(...args: string[]): Record<string, unknown>[] {
  using folder = new TemporaryFolder();
  const json = join(folder.path, 'result.jsonl');
  const command = [
    '--import',
    'tsx',
    'benchmarks/run.ts',
    ...args,
    '--backend',
    'cuda',
    '--quick',
    '--json',
    json,
  ];
  execFileSync(process.execPath, command, { cwd: packageRoot(), env: process.env, stdio: 'pipe' });
  return readFileSync(json, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('ops names the device, writes a row for each case and, of the interpreter, no goal as met', () => {
  const [machine, ...lines] = bench('ops', '--only', 'student bf16');
  const rows = lines.filter(({ kind }) => kind === 'row');
  const goals = lines.filter(({ kind }) => kind === 'goal');
  expect(machine).toMatchObject({
    device: { gpu: { name: 'interpreter', interpreted: true, driver: 'none' } },
    peaks: { copy: expect.any(Number) },
  });
  expect(new Set(rows.map(({ op }) => op))).toEqual(
    new Set(['gemm', 'attention', 'rms_norm', 'weight_norm']),
  );
  expect(rows.map(({ share }) => share)).toEqual(rows.map(() => expect.any(Number)));
  expect(goals.length).toBeGreaterThan(0);
  expect(new Set(goals.map(({ verdict }) => verdict))).toEqual(new Set(['not measured']));
});

test('step measures the graph and the ops one by one, with the peak of the memory of the device', () => {
  const lines = bench('step');
  const ours = lines.filter(({ implementation }) => String(implementation).startsWith('ours'));
  expect(ours.map(({ implementation }) => implementation)).toEqual(['ours, graph', 'ours, eager']);
  for (const { memory } of ours) {
    const { peakBytes, plannedBytes } = memory as Record<string, number>;
    expect(peakBytes).toBeGreaterThanOrEqual(plannedBytes!);
  }
  expect(lines.filter(({ stage }) => stage !== undefined)).toHaveLength(6);
});
