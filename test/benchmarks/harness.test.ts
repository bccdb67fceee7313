import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ratio, type Spread, spread } from '../../benchmarks/harness/spread.js';
import { takeTurns } from '../../benchmarks/harness/turns.js';
import { packageRoot } from '../../lib/native/package_root.js';
import { TemporaryFolder } from '../support/images.js';

/** Runs `npm run bench -- … --quick --json file` and returns the lines of the file. Times are never asserted. */
function bench(...args: string[]): Record<string, unknown>[] {
  using folder = new TemporaryFolder();
  const json = join(folder.path, 'result.jsonl');
  const program = join(packageRoot(), 'benchmarks/run.ts');
  execFileSync(process.execPath, ['--import', 'tsx', program, ...args, '--quick', '--json', json], {
    cwd: packageRoot(),
    env: process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines = readFileSync(json, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line));
}

function expectSpread(value: unknown): void {
  const { median, min, max, samples } = value as Spread;
  expect(min).toBeGreaterThan(0);
  expect(median).toBeGreaterThanOrEqual(min);
  expect(max).toBeGreaterThanOrEqual(median);
  expect(samples).toBeGreaterThan(0);
}

describe('benchmarks', () => {
  test('ops writes the machine, then a row for each case', () => {
    const [machine, ...rows] = bench('ops', '--only', 'rms_norm f32', '--threads', '1');
    expect(machine).toMatchObject({
      kind: 'machine',
      date: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      commit: expect.any(String),
      dirty: expect.any(Boolean),
      device: { cpu: expect.any(String), isa: expect.stringMatching(/^avx/), threads: 1 },
      versions: { node: process.versions.node },
      peaks: { gemm: { f32: expect.any(Number), bf16: expect.any(Number) }, copy: expect.any(Number) },
      quick: true,
    });
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(row).toMatchObject({ kind: 'row', suite: 'ops', op: 'rms_norm', dtype: 'f32', bound: 'memory' });
      expect(row.share).toBeGreaterThan(0);
      expectSpread(row.time);
    }
  });

  test('step measures a step in a process of its own, then its stages', () => {
    const [, ours, ...stages] = bench('step', '--only', 'f32', '--threads', '1');
    expect(ours).toMatchObject({ suite: 'step', dtype: 'f32', implementation: 'ours' });
    expectSpread(ours!.imagesPerSecond);
    expect(ours!.memory).toMatchObject({ plannedBytes: expect.any(Number), peakBytes: expect.any(Number) });
    expect(stages.map(({ stage }) => stage)).toEqual([
      'patches and masks',
      'teacher',
      'clustering',
      'student forward',
      'student backward',
      'update',
    ]);
  });

  test('where there is no git, CAPI_COMMIT says what was measured', () => {
    process.env.CAPI_COMMIT = '0123abc and changes';
    try {
      const [machine] = bench('ops', '--only', 'cast tiny');
      expect(machine).toMatchObject({ commit: '0123abc', dirty: true });
    } finally {
      delete process.env.CAPI_COMMIT;
    }
  });

  test('another backend than cpu and cuda is refused', () => {
    expect(() => bench('ops', '--backend', 'gpu')).toThrow(
      /Expected cpu or cuda for --backend but received "gpu"/,
    );
    expect(() => bench('data', '--backend', 'cuda')).toThrow(/Expected cpu for data/);
  });

  test('an unknown suite is an error that names the known ones', () => {
    expect(() => bench('steps')).toThrow(/ops, step, data/);
  });

  test('the median of an even number of values lies between the two in the middle', () => {
    expect(spread([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4, samples: 4 });
  });

  test('ratios compare the times of the same round', () => {
    expect(ratio([2, 30], [1, 10])).toEqual({ median: 2.5, min: 2, max: 3, samples: 2 });
  });

  test('contestants take turns after one unmeasured run each', async () => {
    const order: string[] = [];
    const contestant = (name: string) => ({
      name,
      seconds: async () => {
        order.push(name);
        return order.length;
      },
    });
    const times = await takeTurns([contestant('a'), contestant('b')], { rounds: 2, budgetSeconds: 1 });
    expect(order.join('')).toBe('ababab');
    expect(times).toEqual([
      [3, 5],
      [4, 6],
    ]);
  });
});
