/** A value for each iteration: frozen at 0, a linear warm-up, then a cosine that may stop before its end. */
import { invalidArgument } from '../native/errors.js';

export interface WarmupThenCosineOptions {
  readonly baseValue: number;
  readonly finalValue: number;
  readonly totalIters: number;
  readonly warmupIters?: number;
  readonly startWarmupValue?: number;
  readonly freezeIters?: number;
  /** Share of the cosine's half-period that is walked; below 1, `finalValue` is not reached before the end. */
  readonly truncateCos?: number;
}

/** Pure in the iteration, so a resumed run needs no state. */
export interface Schedule {
  readonly totalIters: number;
  at(iteration: number): number;
}

/**
 * METHOD §7 in float64. The warm-up includes both of its ends, so `baseValue` comes twice: as its last value and as the
 * cosine's first. Past the end: `finalValue`.
 */
export function warmupThenCosine(options: WarmupThenCosineOptions): Schedule {
  const { baseValue, finalValue, totalIters } = options;
  const { warmupIters = 0, startWarmupValue = 0, freezeIters = 0, truncateCos = 1 } = options;
  const length = totalIters - warmupIters - freezeIters;
  if (length < 0) {
    throw invalidArgument(
      'totalIters',
      `at least warmupIters + freezeIters (${warmupIters + freezeIters})`,
      totalIters,
    );
  }
  return {
    totalIters,
    at(iteration) {
      if (!Number.isInteger(iteration) || iteration < 0) {
        throw invalidArgument('iteration', 'an integer >= 0', iteration);
      }
      if (iteration >= totalIters) return finalValue;
      if (iteration < freezeIters) return 0;
      const step = iteration - freezeIters;
      if (step < warmupIters) return linear(startWarmupValue, baseValue, warmupIters, step);
      const angle = (Math.PI * truncateCos * (step - warmupIters)) / length;
      return finalValue + 0.5 * (baseValue - finalValue) * (1 + Math.cos(angle));
    },
  };
}

/** Value `index` of `count` from `start` to `stop`, both included; one value alone is `start`. */
function linear(start: number, stop: number, count: number, index: number): number {
  if (count === 1) return start;
  return index === count - 1 ? stop : index * ((stop - start) / (count - 1)) + start;
}

/** The keys of a schedule in the YAML file. */
export interface ScheduleKeys {
  readonly base_value: number;
  readonly final_value: number;
  readonly start_warmup_value: number;
  readonly warmup_iters: number;
  readonly freeze_iters: number;
  readonly truncate_cos: number;
}

/** The schedule that a section of the configuration describes. */
export function scheduleFromConfig(keys: ScheduleKeys, totalIters: number): Schedule {
  return warmupThenCosine({
    baseValue: keys.base_value,
    finalValue: keys.final_value,
    totalIters,
    warmupIters: keys.warmup_iters,
    startWarmupValue: keys.start_warmup_value,
    freezeIters: keys.freeze_iters,
    truncateCos: keys.truncate_cos,
  });
}
