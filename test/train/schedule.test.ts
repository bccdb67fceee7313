import { existsSync } from 'node:fs';
import { readSafetensors, type TensorEntry } from '../../lib/checkpoint/safetensors.js';
import { resolveConfig } from '../../lib/config/load.js';
import { scheduleFromConfig, warmupThenCosine } from '../../lib/optim/schedule.js';

const GOLDEN = '../shared/golden/schedules.safetensors';
const golden = [GOLDEN, `../${GOLDEN}`].find((path) => existsSync(path));

(golden === undefined ? test.skip : test)(
  'every value of the golden file is reproduced in float64',
  async () => {
    const { entries, metadata } = await readSafetensors(golden ?? '');
    const cases = JSON.parse(metadata.config ?? '{}').cases ?? JSON.parse(metadata.config ?? '{}');
    expect(entries.length).toBeGreaterThan(0);
    for (const entry of entries) {
      const name = entry.name.slice(0, entry.name.indexOf('.'));
      const keys = {
        start_warmup_value: 0,
        warmup_iters: 0,
        freeze_iters: 0,
        truncate_cos: 1,
        ...cases[name],
      };
      const schedule = scheduleFromConfig(keys, keys.total_iters);
      float64(entry).forEach((expected, iteration) => {
        expect(Math.abs(schedule.at(iteration) - expected)).toBeLessThanOrEqual(
          1e-15 + 1e-14 * Math.abs(expected),
        );
      });
    }
  },
);

function float64({ data }: TensorEntry): Float64Array {
  return new Float64Array(data.buffer, data.byteOffset, data.byteLength / 8);
}

test('the warm-up includes both ends and the base comes twice', () => {
  const schedule = warmupThenCosine({ baseValue: 1, finalValue: 0, totalIters: 10, warmupIters: 5 });
  expect([0, 1, 2, 3, 4, 5].map((i) => schedule.at(i))).toEqual([0, 0.25, 0.5, 0.75, 1, 1]);
});

test('a warm-up of one iteration is its start', () => {
  const schedule = warmupThenCosine({
    baseValue: 1,
    finalValue: 0,
    totalIters: 3,
    warmupIters: 1,
    startWarmupValue: 0.5,
  });
  expect([schedule.at(0), schedule.at(1)]).toEqual([0.5, 1]);
});

test('frozen iterations are zero and come first', () => {
  const schedule = warmupThenCosine({
    baseValue: 1,
    finalValue: 0,
    totalIters: 6,
    warmupIters: 2,
    startWarmupValue: 0.5,
    freezeIters: 2,
  });
  expect([0, 1, 2, 3, 4].map((i) => schedule.at(i))).toEqual([0, 0, 0.5, 1, 1]);
});

test('a truncated cosine stops above the final value, which holds past the end', () => {
  const schedule = warmupThenCosine({ baseValue: 1, finalValue: 0, totalIters: 100, truncateCos: 0.8 });
  expect(schedule.at(99)).toBeCloseTo(0.5 * (1 + Math.cos(Math.PI * 0.8 * 0.99)), 15);
  expect(schedule.at(100)).toBe(0);
  expect(schedule.at(1e9)).toBe(0);
});

test('the default momentum starts at 1, falls to .999 and rises towards 1', () => {
  const { optim } = resolveConfig().config;
  const momentum = scheduleFromConfig(optim.momentum_schedule, optim.total_iters);
  expect(momentum.at(0)).toBe(1);
  expect(momentum.at(49_999)).toBe(0.999);
  expect(momentum.at(499_999)).toBeGreaterThan(0.9998);
});

test('more warm-up than iterations, and iterations that do not exist, are refused', () => {
  const options = { baseValue: 1, finalValue: 0, totalIters: 3, warmupIters: 4 };
  expect(() => warmupThenCosine(options)).toThrow(
    expect.objectContaining({ code: 'ERR_CAPI_INVALID_ARGUMENT' }),
  );
  const schedule = warmupThenCosine({ ...options, warmupIters: 3 });
  expect(schedule.at(2)).toBe(1);
  expect(() => schedule.at(-1)).toThrow(/iteration/);
  expect(() => schedule.at(0.5)).toThrow(/iteration/);
});
