import { readFileSync } from 'node:fs';
import { resolveConfig } from '../../lib/config/load.js';
import { scheduleFromConfig, warmupThenCosine } from '../../lib/optim/schedule.js';

/** Float64 values of the published schedule, iteration by iteration and three past the end. */
const published = JSON.parse(readFileSync(new URL('../fixtures/schedules.json', import.meta.url), 'utf8'));

test('every value of the published schedule is reproduced in float64', () => {
  expect(published).toHaveLength(7);
  for (const { keys, values } of published) {
    const all = { start_warmup_value: 0, warmup_iters: 0, freeze_iters: 0, truncate_cos: 1, ...keys };
    const schedule = scheduleFromConfig(all, all.total_iters);
    for (const [iteration, expected] of values.entries()) {
      const error = Math.abs(schedule.at(iteration) - expected);
      expect(error).toBeLessThanOrEqual(1e-15 + 1e-14 * Math.abs(expected));
    }
  }
});

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
