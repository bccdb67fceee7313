/** Axes: intervals, round ticks, labels that tell the ticks apart, coordinates. */
import { compactNumber, trimZeros } from './text.js';

/** An interval of some length, also for a single value. */
export function widen(low: number, high: number): [number, number] {
  if (high > low) return [low, high];
  const margin = Math.abs(low) * 0.1 || 0.5;
  return [low - margin, high + margin];
}

/** About a fifth of an interval: 1, 2, 2.5 or 5 times a power of ten. */
export function roundStep(low: number, high: number): number {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999) ?? 10 * power;
}

/** Round numbers that enclose [low, high]. */
export function ticksAround(low: number, high: number): number[] {
  const step = roundStep(low, high);
  return multiples(Math.floor(low / step + 1e-6), Math.ceil(high / step - 1e-6), step);
}

/** Multiples of `step` in [low, high]. */
export function ticksWithin(low: number, high: number, step: number): number[] {
  return multiples(Math.ceil(low / step - 1e-6), Math.floor(high / step + 1e-6), step);
}

function multiples(first: number, last: number, step: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Short numbers where they are exact, else as many decimals as the ticks have: no two ticks read the same. */
export function tickLabels(ticks: readonly number[]): string[] {
  const step = Math.abs((ticks[1] ?? 1) - (ticks[0] ?? 0));
  const largest = Math.max(...ticks.map(Math.abs));
  const isShort = ticks.every((tick) => Number(tick.toPrecision(3)) === tick);
  if (isShort && (largest >= 1e4 || largest < 1e-3)) return ticks.map(compactNumber);
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  const exact = Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) < 1e-6;
  return ticks.map((tick) => tick.toFixed(exact ? decimals : decimals + 1));
}

export function coordinate(value: number): string {
  return trimZeros(value.toFixed(1));
}
