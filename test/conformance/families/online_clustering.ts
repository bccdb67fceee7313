/** The clustering head on a whole batch: assignments of every row, loss and gradient. */
import { ClusteringHead } from '../../../lib/loss/clustering_head.js';
import { Arena } from '../../../lib/tensor/arena.js';
import { backend } from '../../support/tensor.js';
import type { GoldenFile } from '../golden_file.js';
import { swapMiddle } from '../pixels.js';
import type { Checks } from '../report.js';
import { Workspace } from '../workspace.js';

interface Case {
  readonly pos: number;
  readonly n: number;
  readonly dim: number;
  readonly K: number;
  readonly n_sk_iter: number;
  readonly target_temp: number;
  readonly pred_temp: number;
  readonly positionwise_sk: boolean;
}

export async function checkOnlineClustering(file: GoldenFile, checks: Checks): Promise<void> {
  for (const [name, options] of file.cases<Case>()) await checkCase(file, checks, name, options);
}

async function checkCase(file: GoldenFile, checks: Checks, name: string, options: Case): Promise<void> {
  const { pos: positions, n: images, dim: width, K } = options;
  const rows = positions * images;
  const bias = file.has(`${name}.param.layer.bias`);
  using space = new Workspace(file);
  using arena = new Arena('conformance', backend);
  const loss = space.output([1, 1], 'f64');
  const head = new ClusteringHead(
    {
      images,
      positions,
      width,
      numClusters: K,
      bias,
      positionwise: options.positionwise_sk,
      iterations: options.n_sk_iter,
      targetTemp: options.target_temp,
      predTemp: options.pred_temp,
      dtype: 'f32',
    },
    arena,
    arena,
    loss,
  );
  arena.allocate();
  head.prepare();
  // The file has positions before images; batches have images first.
  const features = swapMiddle(file.values(`${name}.in.x`), [1, positions, images, width]);
  const every = Int32Array.from({ length: rows }, (_, i) => i);
  const targets = space.output([rows, K]);
  const gradWeight = space.output([K, width]);
  const gradBias = bias ? space.output([1, K]) : undefined;
  head.run(space.from(features, [rows, width]), space.indices(every), targets, {
    weight: space.load(`${name}.param.layer.weight`),
    bias: bias ? space.load(`${name}.param.layer.bias`, [1, K]) : undefined,
    gradWeight,
    gradBias,
  });
  const byPosition = swapMiddle(await targets.readFloats(), [1, images, positions, K]);
  checks.tensor(name, 'out.assignments', byPosition);
  checks.tensor(name, 'out.loss', await loss.readFloats());
  // Assignments are constants: their cotangent reaches nothing. The loss's is 1, or scales the gradient.
  file.ignore(`${name}.cot.assignments`);
  const cotangent = file.has(`${name}.cot.loss`) ? file.number(`${name}.cot.loss`) : 1;
  const scaled = (values: ArrayLike<number>) => Float64Array.from(values, (value) => cotangent * value);
  checks.tensor(name, 'grad.param.layer.weight', scaled(await gradWeight.readFloats()));
  if (gradBias) checks.tensor(name, 'grad.param.layer.bias', scaled(await gradBias.readFloats()));
}
