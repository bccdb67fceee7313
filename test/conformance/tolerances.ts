/**
 * How far a result may be from the golden one. One rule, and the exceptions to it with their reasons.
 *
 * The rule: max |ours − golden| ≤ max(8 · e, 1e-6 · m), with e = max |fp32 − fp64| of the reference against its own
 * float64 run and m = max |fp64|, both from the file. Two implementations that round differently, each as accurate as
 * the reference, differ by 2 e; the largest of many errors varies by some factor between orders of summation; and where
 * e is 0 by luck, 1e-6 · m is 8 to 17 units in the last place of the largest value. Where a file gives no yardstick, e = 0
 * and m is the largest golden value.
 */
import type { GoldenFile, Values } from './golden_file.js';

const errorFactor = 8;
const relativeFloor = 1e-6;

export function byYardstick(file: GoldenFile, tensor: string, expected: Values): number {
  const [error, most] = file.fp64Error[tensor] ?? [0, maxAbs(expected)];
  return Math.max(errorFactor * error, relativeFloor * most);
}

export function maxAbs(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i] as number));
  return most;
}

/**
 * Logits over the temperature are as large as M, so their rounding, half a unit in the last place, moves an exponent by
 * up to 2^-24 · max |M| in each of the roundings on the way (division, difference, shift, and the reference's own).
 */
export function ofRoundedExponents(base: number, largestM: number, largestQ: number): number {
  return base + 8 * 2 ** -24 * largestM * Math.max(largestQ, 1);
}

/** Relative to the largest value. Schedules are float64 on both sides. */
export const schedules = 1e-12;

/** Losses, entropy and gradient norms of the trajectory, relative; what the project promises. */
export const trajectoryScalars = 1e-4;
/** |p − golden| / |golden − initial| over a group's parameters; what the project promises. */
export const trajectoryUpdate = 1e-3;
/** Of parameters that do not move, relative to the largest: the moving average of a constant rounds at every step. */
export const trajectoryConstant = (steps: number) => steps * 2 ** -23;

/** Grey levels between two sound JPEG decoders; lossless formats get 0. */
export const jpegLevels = 4;

/**
 * Standard deviations between two samples' frequencies or chi-squares. Beyond 6 lies one of 10^9 normal deviates; a
 * file asks a few thousand such questions, with a fixed seed on our side.
 */
export const deviations = 6;

/** GELU and its derivative by themselves, |error| / max(|value|, 1): eight units in the last place. */
export const geluRelative = 8 * 2 ** -23;
