/** x += fc2(GELU(fc1(RMSNorm(x)))), no biases. */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BranchCall } from './attention_branch.js';
import type { BlockNames } from './backbone_layout.js';
import { type Build, gradient } from './build.js';
import { mlpRatio } from './model_config.js';
import { ResidualBranch } from './residual_branch.js';
import type { Scratch } from './scratch.js';

export class MlpBranch {
  readonly #build: Build;
  readonly #names: BlockNames;
  readonly #residual: ResidualBranch;
  /** [kept·n, 4D]: fc1's output, before GELU. The backward pass turns it into GELU's output. */
  readonly #preActivation: Tensor | undefined;

  constructor(
    build: Build,
    names: BlockNames,
    options: { readonly tokens: number; readonly training: boolean },
  ) {
    const { arena, config, kept } = build;
    this.#build = build;
    this.#names = names;
    this.#residual = new ResidualBranch(build, names.norm2, options.tokens, options.training);
    this.#preActivation = options.training
      ? arena.reserve([kept * options.tokens, mlpRatio * config.width], config.dtype)
      : undefined;
  }

  forward({ x, y, images }: BranchCall, scratch: Scratch): void {
    const { values } = this.#build.weights;
    this.#residual.normForward(x, scratch.hidden, images);
    ops.gemm({
      a: scratch.hidden,
      b: values.matrix(this.#names.fc1),
      transposeB: true,
      c: scratch.wide,
      gelu: 'forward',
      pre: this.#preActivation,
    });
    const b = values.matrix(this.#names.fc2);
    this.#residual.addProduct({ a: scratch.wide, b, x, y, branch: scratch.branch, images });
  }

  /** `grad` is the gradient of y going in and of x coming out. */
  backward({ x, images }: BranchCall, grad: Tensor, scratch: Scratch): void {
    const { weights } = this.#build;
    const activation = this.#preActivation as Tensor;
    const gradBranch = this.#residual.gatherGradient(grad, scratch.gradBranch, images);
    const fc2 = weights.values.matrix(this.#names.fc2);
    ops.gemm({ a: gradBranch, b: fc2, c: scratch.wide, gelu: 'backward', pre: activation });
    ops.gemm({ a: gradBranch, b: activation, transposeA: true, c: gradient(weights, this.#names.fc2) });
    ops.gemm({ a: scratch.wide, b: weights.values.matrix(this.#names.fc1), c: scratch.branch });
    this.#residual.normBackward(x, scratch.branch, grad, scratch.hidden, images);
    ops.gemm({ a: scratch.wide, b: scratch.hidden, transposeA: true, c: gradient(weights, this.#names.fc1) });
  }
}
