import { ops } from '../../lib/tensor/ops.js';
import { expectClose } from '../support/close.js';
import { randomNormal } from '../support/random.js';
import { Tensor } from '../support/tensor.js';

const heads = 2;
const headDim = 12;
const width = heads * headDim;
const poison = (length: number) => new Float32Array(length).fill(Number.NaN);

/** rope(x) in float64: channel i pairs with the one `distance` further in each block of 2 · distance. */
function reference(x: Float32Array, coordinates: Float32Array, frequencies: Float32Array, distance: number) {
  return Float64Array.from(x, (value, index) => {
    const row = Math.floor(index / width);
    const i = index % headDim;
    const [down, across] = [coordinates[2 * row] as number, coordinates[2 * row + 1] as number];
    const angle = down * (frequencies[i] as number) + across * (frequencies[headDim + i] as number);
    const first = i % (2 * distance) < distance;
    const partner = x[index + (first ? distance : -distance)] as number;
    return value * Math.cos(angle) + (first ? -partner : partner) * Math.sin(angle);
  });
}

describe.each([
  ['coupled', headDim / 2],
  ['axial', headDim / 4],
] as const)('%s rope', (rope, distance) => {
  test.each([1, 53, 106])(
    'agrees with float64 for %i rows, and its transpose is its backward',
    async (rows) => {
      const x = randomNormal(rows * width, 1);
      const coordinates = randomNormal(rows * 2, 2);
      const frequencies = randomNormal(2 * headDim, 3);
      const cotangent = randomNormal(rows * width, 4);
      using tx = Tensor.from(x, [rows, width], 'f32');
      using tc = Tensor.from(coordinates, [rows, 2], 'f32');
      using tf = Tensor.from(frequencies, [2, headDim], 'f32');
      using gradY = Tensor.from(cotangent, [rows, width], 'f32');
      using y = Tensor.from(poison(rows * width), [rows, width], 'f32');
      using gradX = Tensor.from(poison(rows * width), [rows, width], 'f32');
      using gradFrequencies = Tensor.from(poison(2 * headDim), [2, headDim], 'f32');
      const shared = { x: tx, coordinates: tc, frequencies: tf, heads, rope };
      ops.ropeForward({ ...shared, y });
      const expected = reference(x, coordinates, frequencies, distance);
      expectClose(await y.readFloats(), expected, { atol: 2e-6, rtol: 1e-6 });

      ops.ropeBackward({ ...shared, gradY, gradX, gradFrequencies });
      const loss = (at: Float32Array, scale: Float32Array) =>
        reference(at, coordinates, scale, distance).reduce(
          (sum, v, i) => sum + v * (cotangent[i] as number),
          0,
        );
      // The map is linear in x: the gradient is the loss of each unit vector.
      const grad = await gradX.readFloats();
      for (const i of [0, 7, width - 1]) {
        const unit = new Float32Array(rows * width);
        unit[i] = 1;
        expectClose(grad.slice(i, i + 1), [loss(unit, frequencies)], { atol: 2e-6, rtol: 1e-6 });
      }
      const gradF = await gradFrequencies.readFloats();
      for (let i = 0; i < 2 * headDim; i += 5) {
        const shifted = (by: number) => frequencies.map((value, j) => (j === i ? value + by : value));
        const [above, below] = [shifted(2 ** -8), shifted(-(2 ** -8))];
        const step = (above[i] as number) - (below[i] as number);
        const slope = (loss(x, above) - loss(x, below)) / step;
        expectClose(gradF.slice(i, i + 1), [slope], { atol: 2e-3, rtol: 1e-3 });
      }
    },
  );
});

test('rope refuses heads that do not divide the width', () => {
  using x = Tensor.zeros([4, 20], 'f32');
  using coordinates = Tensor.zeros([4, 2], 'f32');
  using frequencies = Tensor.zeros([2, 8], 'f32');
  const call = () => ops.ropeForward({ x, y: x, coordinates, frequencies, heads: 3, rope: 'coupled' });
  expect(call).toThrow(expect.objectContaining({ code: 'ERR_CAPI_SHAPE_MISMATCH' }));
});
