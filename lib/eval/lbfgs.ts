/**
 * Limited-memory BFGS for smooth functions of a few thousand variables (Nocedal and Wright, algorithm 7.4), with
 * a bracketing line search for the weak Wolfe conditions, which keep every curvature pair positive.
 */

/** Writes the gradient at `x` into `gradient` and returns the value. */
export type Objective = (x: Float64Array, gradient: Float64Array) => number;

export interface MinimizeOptions {
  readonly maxIterations: number;
  /** Stops when no entry of the gradient is larger. */
  readonly tolerance: number;
}

export interface Minimum {
  readonly x: Float64Array;
  readonly value: number;
  readonly iterations: number;
  readonly converged: boolean;
}

const PAIRS = 10;
const SUFFICIENT_DECREASE = 1e-4;
const CURVATURE = 0.9;
const LINE_SEARCH_STEPS = 40;

interface Pair {
  readonly s: Float64Array; // change of x
  readonly y: Float64Array; // change of the gradient
  readonly rho: number; // 1 / s·y
}

export function minimize(objective: Objective, start: Float64Array, options: MinimizeOptions): Minimum {
  let x: Float64Array = start.slice();
  let gradient: Float64Array = new Float64Array(x.length);
  let value = objective(x, gradient);
  const pairs: Pair[] = [];
  let iterations = 0;
  while (iterations < options.maxIterations && largest(gradient) > options.tolerance) {
    iterations++;
    const direction = descentDirection(gradient, pairs);
    const found = lineSearch(objective, x, value, gradient, direction, pairs.length === 0);
    if (!found) break; // no step lowers the value: rounding has the last word
    const s = subtract(found.x, x);
    const y = subtract(found.gradient, gradient);
    const curvature = dot(s, y);
    if (curvature > 0) pairs.push({ s, y, rho: 1 / curvature });
    if (pairs.length > PAIRS) pairs.shift();
    ({ x, value, gradient } = found);
  }
  return { x, value, iterations, converged: largest(gradient) <= options.tolerance };
}

/** The two-loop recursion: minus the inverse Hessian's estimate times the gradient. */
function descentDirection(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const direction = gradient.map((g) => -g);
  const weights: number[] = [];
  for (const { s, y, rho } of [...pairs].reverse()) {
    const weight = rho * dot(s, direction);
    addScaled(direction, y, -weight);
    weights.push(weight);
  }
  const last = pairs.at(-1);
  if (last) {
    const scale = 1 / (last.rho * dot(last.y, last.y));
    for (let i = 0; i < direction.length; i++) direction[i] = (direction[i] as number) * scale;
  }
  for (const { s, y, rho } of pairs) addScaled(direction, s, (weights.pop() ?? 0) - rho * dot(y, direction));
  return direction;
}

interface Point {
  readonly x: Float64Array;
  readonly value: number;
  readonly gradient: Float64Array;
}

function lineSearch(
  objective: Objective,
  x: Float64Array,
  value: number,
  gradient: Float64Array,
  direction: Float64Array,
  first: boolean,
): Point | undefined {
  const slope = dot(gradient, direction);
  if (!(slope < 0)) return undefined;
  let low = 0;
  let high = Number.POSITIVE_INFINITY;
  let step = first ? Math.min(1, 1 / Math.sqrt(-slope)) : 1;
  let best: Point | undefined;
  for (let i = 0; i < LINE_SEARCH_STEPS; i++) {
    const point = { x: x.slice(), value: 0, gradient: new Float64Array(x.length) };
    addScaled(point.x, direction, step);
    point.value = objective(point.x, point.gradient);
    if (!(point.value <= value + SUFFICIENT_DECREASE * step * slope)) {
      high = step;
    } else {
      best = point;
      if (dot(point.gradient, direction) >= CURVATURE * slope) return point;
      low = step;
    }
    step = high === Number.POSITIVE_INFINITY ? 2 * step : (low + high) / 2;
  }
  return best;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function addScaled(to: Float64Array, from: Float64Array, scale: number): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] as number) + scale * (from[i] as number);
}

function subtract(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value - (b[i] as number));
}

function largest(values: Float64Array): number {
  let result = 0;
  for (const value of values) result = Math.max(result, Math.abs(value));
  return result;
}
