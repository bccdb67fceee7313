/** Repeated measurements in three numbers. */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly samples: number;
}

/** Of at least one value. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? Number.NaN;
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1), samples: sorted.length };
}

/** Rates of something that takes these times: the shortest time is the highest rate. */
export function rates(seconds: readonly number[], amount: number): Spread {
  return spread(seconds.map((time) => amount / time));
}

/** `theirs / ours`, round by round: both of a round ran back to back, so that a slow minute counts for both. */
export function ratio(theirs: readonly number[], ours: readonly number[]): Spread {
  const rounds = Math.min(theirs.length, ours.length);
  return spread(
    Array.from({ length: rounds }, (_, i) => (theirs[i] ?? Number.NaN) / (ours[i] ?? Number.NaN)),
  );
}
