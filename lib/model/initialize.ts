/** First values of parameters, from Philox: the same for a seed whatever the machine's threads or dtype. */
import { ops } from '../tensor/ops.js';
import type { ParameterSet } from '../tensor/parameters.js';

/**
 * Enqueues the initialisation of every parameter of an f32 set.
 * @param firstStream a number for the first parameter's random stream; the others count on from it
 */
export function initialize(set: ParameterSet, seed: number, firstStream: number): void {
  for (const [index, { name, init }] of set.layout.parameters.entries()) {
    const x = set.matrix(name);
    const stream = firstStream + index;
    switch (init.kind) {
      case 'constant':
        x.write(new Float32Array(x.size).fill(init.value));
        break;
      case 'values':
        x.write(init.values);
        break;
      case 'normal':
        ops.fillRandom({ x, distribution: 'normal', scale: init.std, seed, stream });
        break;
      case 'uniform':
        ops.fillRandom({ x, distribution: 'uniform', scale: init.bound, seed, stream });
        break;
    }
  }
}
