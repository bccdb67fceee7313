/**
 * What attention and MLP branches share: a pre-norm on the kept images going in, and the sum into the residual
 * stream coming out. With stochastic depth a branch works on a subset of images and counts B / kept times.
 * METHOD section 4, "Stochastic depth".
 */
import { ops } from '../tensor/ops.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Build, gradient } from './build.js';

export class ResidualBranch {
  readonly #build: Build;
  readonly #norm: string;
  /** Tokens an image has: n. */
  readonly #tokens: number;
  /** f32 [1, kept·n], saved for the backward pass. */
  readonly #rstd: Tensor | undefined;

  constructor(build: Build, norm: string, tokens: number, training: boolean) {
    this.#build = build;
    this.#norm = norm;
    this.#tokens = tokens;
    this.#rstd = training ? build.arena.reserve([1, build.kept * tokens], 'f32') : undefined;
  }

  get drops(): boolean {
    return this.#build.kept < this.#build.images;
  }

  get #scale(): number {
    return this.#build.images / this.#build.kept;
  }

  /** `hidden` = RMSNorm of the kept images of `x`. */
  normForward(x: Tensor, hidden: Tensor, images: Tensor | undefined): void {
    ops.rmsNormForward({
      x, // [B·n, D]
      weight: this.#build.weights.values.matrix(this.#norm),
      y: hidden, // [kept·n, D]
      rstd: this.#rstd,
      eps: this.#build.config.normEps,
      ...this.#rows(images),
    });
  }

  /** `y` = `x` + scale · a · bᵀ on the kept images. */
  addProduct(product: {
    a: Tensor;
    b: Tensor;
    x: Tensor;
    y: Tensor;
    branch: Tensor;
    images: Tensor | undefined;
  }): void {
    const { a, b, x, y, branch, images } = product;
    if (!images) {
      ops.gemm({ a, b, transposeB: true, c: y, residual: x });
      return;
    }
    ops.gemm({ a, b, transposeB: true, c: branch });
    ops.residualForward({ x, branch, y, images, rows: this.#tokens, scale: this.#scale });
  }

  /** The gradient of the branch's output: that of the stream, on the kept images, scaled. */
  gatherGradient(grad: Tensor, gradBranch: Tensor, images: Tensor | undefined): Tensor {
    if (!images) return grad;
    ops.residualGather({ gradY: grad, gradBranch, images, rows: this.#tokens, scale: this.#scale });
    return gradBranch;
  }

  /** Adds the norm's gradient to the stream's and recomputes `hidden`, which the forward pass did not keep. */
  normBackward(
    x: Tensor,
    gradHidden: Tensor,
    grad: Tensor,
    hidden: Tensor,
    images: Tensor | undefined,
  ): void {
    const { weights } = this.#build;
    ops.rmsNormBackward({
      x,
      weight: weights.values.matrix(this.#norm),
      rstd: this.#rstd as Tensor,
      gradY: gradHidden,
      gradX: grad,
      accumulate: true,
      gradWeight: gradient(weights, this.#norm),
      y: hidden,
      ...this.#rows(images),
    });
  }

  #rows(images: Tensor | undefined) {
    return images ? { images, rows: this.#tokens, sourceRows: this.#tokens, sourceOffset: 0 } : {};
  }
}
