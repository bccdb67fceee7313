/**
 * A stack of blocks over one sequence length, and the norm behind it. Training keeps the residual stream before
 * every branch; inference runs in place, all blocks sharing one set of buffers.
 */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttentionBranch, type BranchCall, type Context } from './attention_branch.js';
import { names } from './backbone_layout.js';
import type { Build, DropPath } from './build.js';
import { MlpBranch } from './mlp_branch.js';
import { reserveScratch, type Scratch } from './scratch.js';

export interface TransformerOptions {
  readonly stack: 'encoder' | 'decoder';
  readonly depth: number;
  /** n: tokens an image has. */
  readonly tokens: number;
  readonly cross: boolean;
  readonly training: boolean;
}

export interface TransformerCall {
  /** f32 [B·n, 2] */
  readonly coordinates: Tensor;
  /** i32 [2·depth, kept]; absent without stochastic depth */
  readonly dropPath?: DropPath | undefined;
  /** Cross-attention: the context of block i. */
  readonly contexts?: readonly Context[] | undefined;
}

interface Block {
  readonly attention: AttentionBranch;
  readonly mlp: MlpBranch;
}

export class Transformer {
  /** [B·n, D]: where the caller puts the tokens. */
  readonly input: Tensor;
  /** [B·n, D]: the residual stream behind the last block, before the final norm. */
  readonly output: Tensor;
  readonly #build: Build;
  readonly #options: TransformerOptions;
  /** The stream before each branch, and behind the last one. */
  readonly #stream: readonly Tensor[];
  readonly #blocks: readonly Block[];
  readonly #scratch: Scratch;
  /** f32 [1, B·n] of the final norm */
  readonly #rstd: Tensor | undefined;

  constructor(build: Build, options: TransformerOptions) {
    const { arena, config, images } = build;
    const { depth, tokens, training, stack } = options;
    this.#build = build;
    this.#options = options;
    const reserve = () => arena.reserve([images * tokens, config.width], config.dtype);
    const first = reserve();
    this.#stream = Array.from({ length: 2 * depth + 1 }, (_, i) => (i > 0 && training ? reserve() : first));
    this.input = first;
    this.output = this.#stream.at(-1) ?? first;
    this.#rstd = training ? arena.reserve([1, images * tokens], 'f32') : undefined;
    this.#scratch = reserveScratch(build, tokens);
    const mark = arena.mark();
    this.#blocks = Array.from({ length: depth }, (_, i) => {
      if (!training) arena.release(mark);
      return {
        attention: new AttentionBranch(build, names.block(stack, i), options),
        mlp: new MlpBranch(build, names.block(stack, i), options),
      };
    });
  }

  /** Runs the first `depth` blocks (default: all) on `input`. */
  forward(call: TransformerCall, depth = this.#options.depth): void {
    for (const [i, block] of this.#blocks.slice(0, depth).entries()) {
      block.attention.forward(this.#branchCall(call, 2 * i), this.#scratch);
      block.mlp.forward(this.#branchCall(call, 2 * i + 1), this.#scratch);
    }
  }

  /** `y` [B·count, D] = the final norm, which has no weight, of `count` tokens of each image from `offset` on. */
  normForward(y: Tensor, offset = 0, count = this.#options.tokens): void {
    ops.rmsNormForward({
      x: this.output,
      y,
      rstd: this.#rstd?.columnRange(0, this.#build.images * count),
      eps: this.#build.config.normEps,
      ...this.#rows(offset, count),
    });
  }

  /** `grad` [B·n, D] = the gradient of `output`, from that of the norm's result; 0 for tokens that it left out. */
  normBackward(gradY: Tensor, grad: Tensor, offset = 0, count = this.#options.tokens): void {
    if (count < this.#options.tokens) ops.zero({ x: grad });
    ops.rmsNormBackward({
      x: this.output,
      rstd: (this.#rstd as Tensor).columnRange(0, this.#build.images * count),
      gradY,
      gradX: grad,
      accumulate: false,
      ...this.#rows(offset, count),
    });
  }

  /** `grad` is the gradient of `output` going in and of `input` coming out. */
  backward(call: TransformerCall, grad: Tensor): void {
    for (const [i, block] of [...this.#blocks.entries()].reverse()) {
      block.mlp.backward(this.#branchCall(call, 2 * i + 1), grad, this.#scratch);
      block.attention.backward(this.#branchCall(call, 2 * i), grad, this.#scratch);
    }
  }

  #branchCall({ coordinates, dropPath, contexts }: TransformerCall, branch: number): BranchCall {
    return {
      x: this.#stream[branch] as Tensor,
      y: this.#stream[branch + 1] as Tensor,
      coordinates,
      images: dropPath?.indices.rowRange(branch, branch + 1),
      context: contexts?.[branch >> 1],
    };
  }

  #rows(offset: number, count: number) {
    const { tokens } = this.#options;
    return count === tokens ? {} : { rows: count, sourceRows: tokens, sourceOffset: offset };
  }
}
