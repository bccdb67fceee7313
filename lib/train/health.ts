/** Whether a run is healthy: use of the prototypes and positional collapse. METHOD section 9. */
import type { TensorEntry } from '../checkpoint/safetensors.js';

export interface Health {
  /** exp of the entropy of the prototypes' mean mass: how many are really in use, in [1, K]. */
  readonly effective_prototypes: number;
  /** Prototypes that got less than a hundredth of their fair share. */
  readonly dead_prototypes: number;
  /** Share of the variance of teacher features that position alone explains, in [0, 1]. */
  readonly positional_collapse: number;
}

const deadShare = 0.01;

/** f64 [K] in a checkpoint: PrototypeUse.mass, so that a resumed run logs what an uninterrupted one would. */
const massName = 'health.prototype_mass';

export function isPrototypeMass({ name }: TensorEntry): boolean {
  return name === massName;
}

/** Averages the prototypes' mass over the steps between two log lines: one step's targets are too few to judge by. */
export class PrototypeUse {
  /** f64 [K]: sums over the steps since the last log line. */
  readonly mass: Float64Array;

  /** @param saved the entry of a checkpoint */
  constructor(numClusters: number, saved?: TensorEntry) {
    this.mass = new Float64Array(numClusters);
    if (saved) this.mass.set(new Float64Array(saved.data.slice().buffer));
  }

  entry(): TensorEntry {
    const data = new Uint8Array(this.mass.slice().buffer);
    return { name: massName, dtype: 'f64', shape: [this.mass.length], data };
  }

  /** @param mass f32 [K]: mean over the targets of a step */
  add(mass: ArrayLike<number>): void {
    for (let k = 0; k < this.mass.length; k++) this.mass[k] = (this.mass[k] as number) + (mass[k] as number);
  }

  /** @param collapse [between, total] variances */
  summary(collapse: ArrayLike<number>): Health {
    const K = this.mass.length;
    const total = this.mass.reduce((sum, mass) => sum + mass, 0);
    let entropy = 0;
    let dead = 0;
    for (const mass of this.mass) {
      const p = mass / total;
      if (p > 0) entropy -= p * Math.log(p);
      if (p < deadShare / K) dead += 1;
    }
    const [between = 0, variance = 0] = Array.from(collapse);
    return {
      effective_prototypes: total > 0 ? Math.exp(entropy) : 0,
      dead_prototypes: dead,
      positional_collapse: variance > 0 ? between / variance : 0,
    };
  }

  reset(): void {
    this.mass.fill(0);
  }
}
