/** What the clustering head keeps on a device for the default recipe: half a gigabyte would hold it twice. */
import { ClusteringHead } from '../../lib/loss/clustering_head.js';
import { Arena } from '../../lib/tensor/arena.js';
import { runModule } from '../support/addon_child.js';

test('of the 4.3 GB of logits of 512 images only 16 of 256 positions exist at a time', () => {
  const [arena, constants] = [new Arena('head', 'cuda'), new Arena('constants', 'cuda')]; // planned, not allocated
  const [images, positions, width, numClusters] = [512, 256, 1024, 16384];
  const temperatures = { targetTemp: 0.06, predTemp: 0.12 };
  new ClusteringHead(
    {
      images,
      positions,
      width,
      numClusters,
      bias: true,
      positionwise: true,
      iterations: 3,
      ...temperatures,
      dtype: 'bf16',
    },
    arena,
    constants,
    constants.reserve([1, 1], 'f64'),
  );
  const features = 2 * images * positions * width;
  const targetRows = 4 * images * positions;
  expect(arena.bytes - features - targetRows).toBe(2 * 16 * images * numClusters);
});

test('Sinkhorn-Knopp needs a tenth of its logits as scratch', () => {
  const [groups, images, columns] = [4, 512, 512];
  const end = runModule(`
    const logits = Tensor.zeros([${groups * images}, ${columns}], 'bf16', 'cuda');
    const [loss, gradBias] = [Tensor.zeros([1, 1], 'f64', 'cuda'), Tensor.zeros([1, ${columns}], 'f32', 'cuda')];
    const before = addon.stats().deviceLiveBytes;
    ops.sinkhornKnoppLoss({
      ...{ logits, groups: ${groups}, iterations: 3, loss, gradLogits: logits, gradBias },
      ...{ targetTemp: 0.06, predTemp: 0.12, totalRows: ${groups * images} },
    });
    await addon.synchronize();
    console.log((addon.stats().deviceLiveBytes - before) / logits.bytes);`);
  expect(end).toMatchObject({ status: 0, stderr: '' });
  expect(Number(end.stdout)).toBeGreaterThan(0);
  expect(Number(end.stdout)).toBeLessThan(0.1);
});
