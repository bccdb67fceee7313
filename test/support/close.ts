/** Comparisons of tensors with float64 references; NaN never passes. */
import { fromBf16, toBf16 } from '../../lib/tensor/dtype.js';

/** Fails unless |a - b| <= atol + rtol |b| everywhere; prints the worst index and the first ten misses. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol, rtol }: { atol: number; rtol: number },
): void {
  expect(actual.length).toBe(expected.length);
  const misses: string[] = [];
  let worst = { index: -1, excess: 0 };
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] as number;
    const b = expected[i] as number;
    const excess = Math.abs(a - b) / (atol + rtol * Math.abs(b));
    if (excess <= 1 || Object.is(a, b)) continue;
    if (misses.length < 10) misses.push(`[${i}] ${a} instead of ${b}`);
    if (!(excess <= worst.excess)) worst = { index: i, excess };
  }
  if (misses.length > 0) {
    throw new Error(`Not close (atol ${atol}, rtol ${rtol}), worst at ${worst.index}:\n${misses.join('\n')}`);
  }
}

/** Largest absolute error against float64. */
export function maxError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] as number) - (expected[i] as number));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/** The values a bf16 tensor would hold. */
export function roundToBf16(values: ArrayLike<number>): Float32Array {
  return fromBf16(toBf16(values));
}
