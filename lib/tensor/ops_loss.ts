import type { Tensor } from './tensor.js';

export interface LossOps {
  /**
   * `loss = mean over rows of −Σ_k targets · log softmax(logits / temperature)` and its gradient for the logits; the
   * targets are constants. METHOD section 6.
   * @param options.logits f32 | bf16 [n, K]
   * @param options.targets f32 | bf16 [n, K]; rows that sum to less than 1 are used as they are
   * @param options.loss f64 [1, 1]: f32 row losses, summed in f64
   * @param options.gradLogits dtype of logits [n, K], may be the logits themselves
   */
  softCrossEntropy(options: {
    readonly logits: Tensor;
    readonly targets: Tensor;
    readonly temperature: number;
    readonly loss: Tensor;
    readonly gradLogits?: Tensor | undefined;
  }): void;
}
