/** x += proj(attention(RMSNorm(x))): self-attention, or cross-attention to a context whose keys and values are given. */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import type { BlockNames } from './backbone_layout.js';
import { type Build, gradient, gradients } from './build.js';
import { ResidualBranch } from './residual_branch.js';
import type { Scratch } from './scratch.js';

/** Keys and values of every context image, and where its tokens lie. */
export interface Context {
  /** [B·m, D] each, rows may be strided. Their gradients overwrite them in the backward pass. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** f32 [B·m, 2] */
  readonly coordinates: Tensor;
  /** m */
  readonly tokens: number;
}

/** What a pass gives a branch. */
export interface BranchCall {
  /** [B·n, D] in and out; the same tensor when nothing is kept for a backward pass. */
  readonly x: Tensor;
  readonly y: Tensor;
  /** f32 [B·n, 2] */
  readonly coordinates: Tensor;
  /** i32 [1, kept], or absent without stochastic depth */
  readonly images: Tensor | undefined;
  /** Absent: self-attention. */
  readonly context?: Context | undefined;
}

const ropeKinds = { rope_coupled: 'coupled', rope_axial: 'axial', learned: 'none', none: 'none' } as const;

export class AttentionBranch {
  readonly #build: Build;
  readonly #names: BlockNames;
  readonly #tokens: number;
  readonly #cross: boolean;
  readonly #residual: ResidualBranch;
  /** Self: q, k and v side by side [kept·n, 3D]. Cross: q [kept·n, D]. Gradients overwrite it. */
  readonly #projected: Tensor;
  /** [kept·n, D] */
  readonly #out: Tensor;
  /** f32 [kept·H, n] */
  readonly #lse: Tensor | undefined;

  constructor(
    build: Build,
    names: BlockNames,
    options: { readonly tokens: number; readonly cross: boolean; readonly training: boolean },
  ) {
    const { arena, config, kept } = build;
    this.#build = build;
    this.#names = names;
    this.#tokens = options.tokens;
    this.#cross = options.cross;
    this.#residual = new ResidualBranch(build, names.norm1, options.tokens, options.training);
    const rows = kept * options.tokens;
    this.#projected = arena.reserve([rows, (options.cross ? 1 : 3) * config.width], config.dtype);
    this.#out = arena.reserve([rows, config.width], config.dtype);
    this.#lse = options.training ? arena.reserve([kept * config.numHeads, options.tokens], 'f32') : undefined;
  }

  forward(call: BranchCall, scratch: Scratch): void {
    const { values } = this.#build.weights;
    this.#residual.normForward(call.x, scratch.hidden, call.images);
    ops.gemm({ a: scratch.hidden, b: this.#weight(values), transposeB: true, c: this.#projected });
    ops.attentionForward({ ...this.#operands(call), out: this.#out, lse: this.#lse });
    this.#residual.addProduct({
      a: this.#out,
      b: values.matrix(this.#names.projection),
      x: call.x,
      y: call.y,
      branch: scratch.branch,
      images: call.images,
    });
  }

  /** `grad` is the gradient of y going in and of x coming out. */
  backward(call: BranchCall, grad: Tensor, scratch: Scratch): void {
    const { weights } = this.#build;
    const { images } = call;
    const operands = this.#operands(call);
    const gradBranch = this.#residual.gatherGradient(grad, scratch.gradBranch, images);
    ops.gemm({ a: gradBranch, b: this.#out, transposeA: true, c: gradient(weights, this.#names.projection) });
    ops.gemm({ a: gradBranch, b: weights.values.matrix(this.#names.projection), c: scratch.branch });
    ops.attentionBackward({
      ...operands,
      out: this.#out,
      lse: this.#lse as Tensor,
      gradOut: scratch.branch,
      gradQ: operands.q,
      gradK: operands.k,
      gradV: operands.v,
      gradFrequencies: weights.trainFrequencies ? gradient(weights, this.#names.frequencies) : undefined,
    });
    ops.gemm({ a: this.#projected, b: this.#weight(weights.values), c: scratch.branch });
    this.#residual.normBackward(call.x, scratch.branch, grad, scratch.hidden, images);
    ops.gemm({
      a: this.#projected,
      b: scratch.hidden,
      transposeA: true,
      c: this.#weight(gradients(weights)),
    });
  }

  #weight(set: Build['weights']['values']): Tensor {
    const { query, key, value } = this.#names;
    return this.#cross ? set.matrix(query) : set.stacked([query, key, value]);
  }

  #operands({ coordinates, images, context }: BranchCall) {
    const { config, weights } = this.#build;
    const D = config.width;
    const projected = this.#projected;
    return {
      q: projected.columnRange(0, D),
      k: context?.keys ?? projected.columnRange(D, 2 * D),
      v: context?.values ?? projected.columnRange(2 * D, 3 * D),
      qCoordinates: coordinates,
      kCoordinates: context?.coordinates ?? coordinates,
      frequencies: weights.master.matrix(this.#names.frequencies),
      images,
      contextImages: context ? images : undefined,
      heads: config.numHeads,
      nQ: this.#tokens,
      nK: context?.tokens ?? this.#tokens,
      rope: ropeKinds[config.position],
    };
  }
}
