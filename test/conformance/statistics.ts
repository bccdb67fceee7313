/** Are two samples drawn from one distribution? In standard deviations, so that one limit serves all. */

/** Largest |z| over cells, each a share of `trials` independent trials: two-sample test with pooled variance. */
export function largestShareDeviation(
  ours: ArrayLike<number>,
  ourTrials: number,
  golden: ArrayLike<number>,
  goldenTrials: number,
): number {
  let largest = 0;
  for (let i = 0; i < golden.length; i++) {
    const [a, b] = [ours[i] as number, golden[i] as number];
    const share = (a + b) / (ourTrials + goldenTrials);
    const variance = share * (1 - share) * (1 / ourTrials + 1 / goldenTrials);
    const difference = Math.abs(a / ourTrials - b / goldenTrials);
    const z =
      variance > 0 ? difference / Math.sqrt(variance) : difference === 0 ? 0 : Number.POSITIVE_INFINITY;
    if (!(z <= largest)) largest = z;
  }
  return largest;
}

/**
 * Chi-square of two histograms, as a normal deviate (Wilson and Hilferty); 0 where they agree as well as chance
 * would make them, or better. Rare bins are joined until they hold `rare` counts.
 */
export function histogramDeviation(ours: ArrayLike<number>, golden: ArrayLike<number>, rare = 40): number {
  if (ours.length !== golden.length) return Number.NaN;
  const bins: [number, number][] = [];
  let [a, b] = [0, 0];
  for (let i = 0; i < golden.length; i++) {
    a += ours[i] as number;
    b += golden[i] as number;
    if (a + b < rare) continue;
    bins.push([a, b]);
    [a, b] = [0, 0];
  }
  const last = bins.at(-1);
  if (last) bins[bins.length - 1] = [last[0] + a, last[1] + b];
  const [totalA, totalB] = bins.reduce(([x, y], [p, q]) => [x + p, y + q], [0, 0]);
  if (totalA === 0 || totalB === 0) return Number.NaN;
  const freedom = bins.length - 1;
  if (freedom === 0) return 0;
  const ratio = Math.sqrt(totalB / totalA);
  const chiSquare = bins.reduce((sum, [p, q]) => sum + (ratio * p - q / ratio) ** 2 / (p + q), 0);
  const spread = 2 / (9 * freedom);
  return Math.max(0, (Math.cbrt(chiSquare / freedom) - (1 - spread)) / Math.sqrt(spread));
}

/** |z| of the difference of two means of equal variance. */
export function meanDeviation(ours: readonly number[], goldenMean: number, goldenTrials: number): number {
  const n = ours.length;
  const mean = ours.reduce((sum, value) => sum + value, 0) / n;
  const variance = ours.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return Math.abs(mean - goldenMean) / Math.sqrt(variance * (1 / n + 1 / goldenTrials));
}
