/** AdamW and the moving average in float64, for one segment. */
export interface AdamwState {
  readonly param: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
  readonly ema: Float64Array;
}

export interface AdamwRates {
  readonly lr: number;
  readonly weightDecay: number;
  readonly momentum: number;
}

export function adamwReference(
  state: AdamwState,
  grad: ArrayLike<number>,
  step: number,
  multipliers: (i: number) => readonly [number, number],
  { lr, weightDecay, momentum }: AdamwRates,
): void {
  const [beta1, beta2, eps] = [0.9, 0.95, 1e-8];
  const { param, m, v, ema } = state;
  for (let i = 0; i < param.length; i++) {
    const [rate, decay] = multipliers(i);
    const g = grad[i] as number;
    const mean = beta1 * (m[i] as number) + (1 - beta1) * g;
    const square = beta2 * (v[i] as number) + (1 - beta2) * g * g;
    const root = Math.sqrt(square / (1 - beta2 ** step)) + eps;
    const decayed = (param[i] as number) * (1 - lr * rate * weightDecay * decay);
    const next = decayed - (lr * rate * mean) / (1 - beta1 ** step) / root;
    m[i] = mean;
    v[i] = square;
    param[i] = next;
    ema[i] = momentum * (ema[i] as number) + (1 - momentum) * next;
  }
}
