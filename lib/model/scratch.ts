/** Buffers that every block of a stack uses in turn; nothing in them outlives a block. */
import type { Tensor } from '../tensor/tensor.js';
import type { Build } from './build.js';
import { mlpRatio } from './model_config.js';

export interface Scratch {
  /** [kept·n, D] each */
  readonly hidden: Tensor;
  readonly branch: Tensor;
  readonly gradBranch: Tensor;
  /** [kept·n, 4D] */
  readonly wide: Tensor;
}

/** @param tokens the longest sequence, n, that a block of the stack works on */
export function reserveScratch({ arena, config, kept }: Build, tokens: number): Scratch {
  const rows = kept * tokens;
  const narrow = () => arena.reserve([rows, config.width], config.dtype);
  return {
    hidden: narrow(),
    branch: narrow(),
    gradBranch: narrow(),
    wide: arena.reserve([rows, mlpRatio * config.width], config.dtype),
  };
}
