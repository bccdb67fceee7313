/** Warm-up, then cosine, then reads past the end. */
import { warmupThenCosine } from '../../../lib/optim/schedule.js';
import type { GoldenFile } from '../golden_file.js';
import type { Checks } from '../report.js';
import { maxAbs, schedules } from '../tolerances.js';

/** The published options; absent ones take the published defaults. */
export interface ScheduleSettings {
  readonly base_value: number;
  readonly final_value: number;
  readonly total_iters: number;
  readonly warmup_iters?: number;
  readonly start_warmup_value?: number;
  readonly freeze_iters?: number;
  readonly truncate_cos?: number;
}

export async function checkSchedules(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, settings] of file.cases<ScheduleSettings>()) {
    const expected = file.values(`${name}.values`);
    const schedule = warmupThenCosine({
      baseValue: settings.base_value,
      finalValue: settings.final_value,
      totalIters: settings.total_iters,
      warmupIters: settings.warmup_iters ?? 0,
      startWarmupValue: settings.start_warmup_value ?? 0,
      freezeIters: settings.freeze_iters ?? 0,
      truncateCos: settings.truncate_cos ?? 1,
    });
    const values = Float64Array.from(expected, (_, iteration) => schedule.at(iteration));
    checks.tensor(name, 'values', values, { tolerance: schedules * maxAbs(expected) });
  }
}
