/** The gradient of the pixels, which training never needs: through the ops that the encoder's backward pass uses. */
import { ops } from '../../../lib/tensor/ops.js';
import type { Tensor } from '../../../lib/tensor/tensor.js';
import { gridOf, type ImageShape, joinPatches, scatterRows } from '../pixels.js';
import type { Workspace } from '../workspace.js';

export async function gradientOfImages(options: {
  /** [B·(R+V), D]: of the encoder's first tokens */
  readonly gradTokens: Tensor;
  /** [D, 3·p²] */
  readonly weight: Tensor;
  readonly registers: number;
  readonly visible: ArrayLike<number> | undefined;
  readonly imageShape: ImageShape;
  readonly space: Workspace;
}): Promise<Float32Array> {
  const { gradTokens, weight, registers, visible, imageShape, space } = options;
  const [rows, cols] = gridOf(imageShape);
  const batch = imageShape.shape[0] as number;
  const nVisible = visible ? visible.length / batch : rows * cols;
  const gradPatches = space.output([batch * nVisible, weight.rows]);
  ops.tokensBackward({
    gradTokens,
    gradPatches,
    visible: visible ? space.indices(visible) : undefined,
    batch,
    nRegisters: registers,
    nVisible,
    nMasked: 0,
  });
  const gradPixels = space.output([batch * nVisible, weight.cols]);
  ops.gemm({ a: gradPatches, b: weight, c: gradPixels });
  const values = (await gradPixels.readFloats()) as Float32Array;
  const size = batch * rows * cols * weight.cols;
  return joinPatches(visible ? scatterRows(values, weight.cols, visible, size) : values, imageShape);
}
