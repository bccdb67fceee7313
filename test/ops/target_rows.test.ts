import { ops } from '../../lib/tensor/ops.js';
import { testSameBytesAsCpu } from '../support/backends.js';
import { poisoned } from '../support/outputs.js';
import { Tensor } from '../support/tensor.js';

describe('targetRows', () => {
  const [images, positions] = [37, 11];
  const size = images * positions;
  // Distinct patches, in no order.
  const patches = Array.from({ length: 300 }, (_, i) => (i * 53) % size);

  test('is the inverse of the list, position-major, with -1 for what is not predicted', async () => {
    const expected = new Int32Array(size).fill(-1);
    patches.forEach((patch, i) => {
      expected[(patch % positions) * images + Math.floor(patch / positions)] = i;
    });
    using predict = Tensor.from(patches, [1, patches.length], 'i32');
    using targetRows = Tensor.from(new Int32Array(size).fill(7), [1, size], 'i32');
    ops.targetRows({ predict, targetRows, images, positions });
    expect(await targetRows.read()).toEqual(expected);
  });

  test('passes over patches that do not exist', async () => {
    using predict = Tensor.from([size, 5, -1, 2 ** 31 - 1, -(2 ** 31)], [1, 5], 'i32');
    using targetRows = poisoned([1, size], 'i32');
    ops.targetRows({ predict, targetRows, images, positions });
    const expected = new Int32Array(size).fill(-1);
    expected[5 * images] = 1;
    expect(await targetRows.read()).toEqual(expected);
  });

  testSameBytesAsCpu('a list of patches', (make) => {
    const predict = make(patches, [1, patches.length], 'i32');
    const targetRows = make(new Int32Array(size).fill(7), [1, size], 'i32');
    ops.targetRows({ predict, targetRows, images, positions });
    return [targetRows];
  });
});
