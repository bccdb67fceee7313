/** Sinkhorn-Knopp with the clustering loss and its gradient, and the student's loss. */
import type { ComputeDtype } from '../../lib/tensor/dtype.js';
import { ops } from '../../lib/tensor/ops.js';
import { bytesOf, type OpCase } from './op_case.js';
import type { Shapes } from './shapes.js';

type Problem = Pick<Shapes, 'title' | 'images' | 'positions' | 'clusters'>;

/** The problem that the speed targets name. */
export const referenceProblem: Problem = { title: '', images: 256, positions: 64, clusters: 4096 };

export function clusteringCases(
  models: readonly Shapes[],
  problems: readonly Problem[],
  dtypes: readonly ComputeDtype[],
): OpCase[] {
  return dtypes.flatMap((dtype) => [
    ...[...problems, ...models].map((size) => sinkhornCase(size, dtype)),
    ...models.map((size) => studentLossCase(size, dtype)),
  ]);
}

function sinkhornCase(size: Problem, dtype: ComputeDtype): OpCase {
  const { title, images, positions, clusters } = size;
  const rows = images * positions;
  return {
    op: 'sinkhorn',
    shape: `${title} positionwise + loss + gradient  [${images}, ${positions}, ${clusters}]`.trim(),
    dtype,
    flops: 0,
    // Maximum, exponentials and the last pass read the logits, the gradient is written over them.
    bytes: 4 * bytesOf(dtype) * rows * clusters,
    torch: `sinkhorn:${positions},${images},${clusters}`,
    fusible: true,
    make: (inputs) => {
      const fresh = inputs.random([rows, clusters], dtype, 0.7);
      const logits = inputs.empty([rows, clusters], dtype);
      const loss = inputs.empty([1, 1], 'f64');
      const gradBias = inputs.empty([1, clusters], 'f32');
      const temperatures = { targetTemp: 0.06, predTemp: 0.12 };
      const outputs = { loss, gradLogits: logits, gradBias, totalRows: rows, ...temperatures };
      return {
        restore: () => ops.copy({ x: fresh, y: logits }),
        run: () => ops.sinkhornKnoppLoss({ logits, groups: positions, ...outputs }),
      };
    },
  };
}

function studentLossCase({ title, images, predicted, clusters }: Shapes, dtype: ComputeDtype): OpCase {
  const rows = images * predicted;
  return {
    op: 'cross_entropy',
    shape: `${title} soft targets + gradient  [${rows}, ${clusters}]`,
    dtype,
    flops: 0,
    bytes: 3 * bytesOf(dtype) * rows * clusters,
    torch: `cross_entropy:${rows},${clusters}`,
    fusible: true,
    make: (inputs) => {
      const logits = inputs.random([rows, clusters], dtype, 0.3);
      const targets = inputs.random([rows, clusters], dtype, 1 / clusters);
      const gradLogits = inputs.empty([rows, clusters], dtype);
      const loss = inputs.empty([1, 1], 'f64');
      return { run: () => ops.softCrossEntropy({ logits, targets, temperature: 0.12, loss, gradLogits }) };
    },
  };
}
