/**
 * Parameters by name, in one flat array. A layout says where each lies; a ParameterSet is one copy of the values
 * (master weights, EMA, gradients, Adam's moments, bf16 operands), all of the same layout, so that the optimizer,
 * the EMA and checkpoints act on flat ranges.
 */
import { CapiError } from '../native/errors.js';
import type { Arena } from './arena.js';
import type { ComputeDtype } from './dtype.js';
import type { Tensor } from './tensor.js';

/** How a parameter starts: METHOD section 4, "Init", and sections 5–6 for the heads. */
export type Init =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  /** U(-bound, bound). */
  | { readonly kind: 'uniform'; readonly bound: number }
  | { readonly kind: 'values'; readonly values: Float32Array };

export interface Parameter {
  /** As in published checkpoints: METHOD section 11. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
  /** First element in the flat array. */
  readonly offset: number;
  readonly size: number;
}

/** Elements: every parameter starts on a 64-byte boundary in f32. */
const ALIGNMENT = 16;

/** Xavier-uniform for a [fanOut, fanIn] weight. */
export function xavier(fanOut: number, fanIn: number): Init {
  return { kind: 'uniform', bound: Math.sqrt(6 / (fanIn + fanOut)) };
}

export class ParameterLayout {
  readonly #parameters = new Map<string, Parameter>();
  #size = 0;

  /** Adds a parameter behind the ones before it. Those whose size is a multiple of 16 lie back to back. */
  add(name: string, shape: readonly number[], init: Init): void {
    const size = shape.reduce((product, length) => product * length, 1);
    this.#parameters.set(name, { name, shape, init, offset: this.#size, size });
    this.#size += Math.ceil(size / ALIGNMENT) * ALIGNMENT;
  }

  get parameters(): readonly Parameter[] {
    return [...this.#parameters.values()];
  }

  /** Elements of the flat array, padding included. */
  get size(): number {
    return this.#size;
  }

  /** Elements of the parameters whose name passes `filter`. */
  count(filter: (name: string) => boolean = () => true): number {
    return this.parameters.reduce((sum, { name, size }) => sum + (filter(name) ? size : 0), 0);
  }

  get(name: string): Parameter {
    const parameter = this.#parameters.get(name);
    if (!parameter) throw new CapiError('ERR_CAPI_INTERNAL', `Expected a parameter named ${name}`);
    return parameter;
  }
}

export class ParameterSet {
  readonly layout: ParameterLayout;
  /** [1, layout.size] */
  readonly flat: Tensor;
  readonly #stacks = new Map<string, Tensor>();

  constructor(layout: ParameterLayout, arena: Arena, dtype: ComputeDtype) {
    this.layout = layout;
    this.flat = arena.reserve([1, layout.size], dtype);
  }

  /** One parameter as the matrix that ops take: [first axis, the rest], or [1, n] for vectors. */
  matrix(name: string): Tensor {
    const { shape, offset, size } = this.layout.get(name);
    const rows = shape.length > 1 ? (shape[0] as number) : 1;
    return this.flat.columnRange(offset, offset + size).view([rows, size / rows]);
  }

  /** Several parameters that lie back to back, stacked by rows: q, k and v as one [3D, D] weight. */
  stacked(names: readonly string[]): Tensor {
    const key = names.join();
    const stack = this.#stacks.get(key) ?? this.#stack(names);
    this.#stacks.set(key, stack);
    return stack;
  }

  #stack(names: readonly string[]): Tensor {
    const parameters = names.map((name) => this.layout.get(name));
    const first = parameters[0] as Parameter;
    let end = first.offset;
    let rows = 0;
    for (const parameter of parameters) {
      if (parameter.offset !== end) {
        throw new CapiError(
          'ERR_CAPI_INTERNAL',
          `Expected ${parameter.name} right behind the parameter before it`,
        );
      }
      end += parameter.size;
      rows += parameter.shape[0] as number;
    }
    return this.flat.columnRange(first.offset, end).view([rows, (end - first.offset) / rows]);
  }
}
