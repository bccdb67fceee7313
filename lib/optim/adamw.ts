/**
 * AdamW over one flat array of parameters, with the EMA of the weights and their bf16 copies in the same pass.
 * METHOD section 7. A step with non-finite gradients changes nothing, decided where the gradients are.
 */

import type { Arena } from '../tensor/arena.js';
import { ops } from '../tensor/ops.js';
import { type ParameterLayout, ParameterSet } from '../tensor/parameters.js';
import type { Tensor } from '../tensor/tensor.js';

export interface Multipliers {
  readonly learningRate: number;
  readonly weightDecay: number;
}

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly multipliers: (name: string) => Multipliers;
}

export interface AdamWSets {
  /** f32 */
  readonly master: ParameterSet;
  readonly gradients: ParameterSet;
  /** Copies that follow the weights; absent where there are none. */
  readonly bf16?: ParameterSet | undefined;
  readonly ema?: ParameterSet | undefined;
  readonly emaBf16?: ParameterSet | undefined;
}

export interface StepRates {
  readonly learningRate: number;
  /** Of the EMA: ema = ema · momentum + weights · (1 - momentum). */
  readonly momentum?: number;
}

/** Multipliers of the student's parameters, by the published rules on names. */
export function studentMultipliers(config: {
  readonly patchEmbed: number;
  readonly rope: number;
  readonly norm: number;
}): (name: string) => Multipliers {
  return (name) => {
    let learningRate = 1;
    let weightDecay = 1;
    if (name.endsWith('.bias')) weightDecay = 0;
    if (name.includes('norm') && name.includes('weight')) weightDecay = config.norm;
    if (name.includes('patch_embed')) learningRate *= config.patchEmbed;
    if (name.includes('rope')) learningRate *= config.rope;
    return { learningRate, weightDecay };
  };
}

export class AdamW {
  /** i32 [1, 1]: steps taken, which the bias correction needs */
  readonly taken: Tensor;
  /** First and second moments, f32. */
  readonly m: ParameterSet;
  readonly v: ParameterSet;
  readonly #sets: AdamWSets;
  readonly #options: AdamWOptions;
  readonly #segments: readonly Segment[];
  /** i32 [S, 2]: offset and length; f32 [S, 2]: learning rate and decay */
  readonly #ranges: Tensor;
  readonly #multipliers: Tensor;
  /** f32 [1, 4]: learning rate, weight decay, momentum, 0 */
  readonly #scalars: Tensor;

  constructor(arena: Arena, sets: AdamWSets, options: AdamWOptions) {
    const { layout } = sets.master;
    this.#sets = sets;
    this.#options = options;
    this.m = new ParameterSet(layout, arena, 'f32');
    this.v = new ParameterSet(layout, arena, 'f32');
    this.taken = arena.reserve([1, 1], 'i32');
    this.#segments = segments(layout, options.multipliers);
    this.#ranges = arena.reserve([this.#segments.length, 2], 'i32');
    this.#multipliers = arena.reserve([this.#segments.length, 2], 'f32');
    this.#scalars = arena.reserve([1, 4], 'f32');
  }

  /** Writes the constants; once, after memory was allocated. */
  prepare(): void {
    this.#ranges.write(this.#segments.flatMap(({ offset, length }) => [offset, length]));
    this.#multipliers.write(
      this.#segments.flatMap(({ multipliers }) => [multipliers.learningRate, multipliers.weightDecay]),
    );
  }

  /** Enqueues the rates of the next step. Apart from `step`, since a step that is replayed repeats its own arguments. */
  setRates({ learningRate, momentum = 1 }: StepRates): void {
    this.#scalars.write([learningRate, this.#options.weightDecay, momentum, 0]);
  }

  /**
   * Enqueues one step with the rates set before.
   * @param nonfinite i32 [1, 1]: when not 0, nothing changes
   */
  step(nonfinite: Tensor): void {
    const { beta1, beta2, eps } = this.#options;
    const { master, gradients, ema, bf16, emaBf16 } = this.#sets;
    ops.adamwEma({
      param: master.flat,
      grad: gradients.flat,
      m: this.m.flat,
      v: this.v.flat,
      ema: ema?.flat,
      paramBf16: bf16?.flat,
      emaBf16: emaBf16?.flat,
      segments: this.#ranges,
      multipliers: this.#multipliers,
      scalars: this.#scalars,
      beta1,
      beta2,
      eps,
      step: this.taken,
      nonfinite,
    });
  }
}

interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly multipliers: Multipliers;
}

/** Neighbours with the same multipliers become one range. Padding belongs to the parameter before it: 0 stays 0. */
function segments(layout: ParameterLayout, multipliersOf: AdamWOptions['multipliers']): Segment[] {
  const parameters = layout.parameters;
  const result: Segment[] = [];
  for (const [i, { name, offset }] of parameters.entries()) {
    const end = parameters[i + 1]?.offset ?? layout.size;
    const multipliers = multipliersOf(name);
    const last = result.at(-1);
    if (
      last?.multipliers.learningRate === multipliers.learningRate &&
      last.multipliers.weightDecay === multipliers.weightDecay
    ) {
      result[result.length - 1] = { ...last, length: end - last.offset };
    } else {
      result.push({ offset, length: end - offset, multipliers });
    }
  }
  return result;
}
