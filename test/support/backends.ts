/** What must be the same to the bit on every backend: integers, and sums in a fixed order. */
import type { Backend } from '../../lib/native/addon.js';
import type { Dtype } from '../../lib/tensor/dtype.js';
import { Tensor as LibraryTensor } from '../../lib/tensor/tensor.js';
import { bytesOf } from './outputs.js';
import { backend, type Tensor } from './tensor.js';

export type MakeTensor = (values: ArrayLike<number>, shape: readonly number[], dtype: Dtype) => Tensor;

/** Registers, on CUDA, the test that `run`, which returns the outputs of an op on tensors that it makes, agrees with the CPU. */
export function testSameBytesAsCpu(name: string, run: (make: MakeTensor) => readonly Tensor[]): void {
  if (backend === 'cpu') return;
  test(`gives the same bytes as the CPU: ${name}`, async () => {
    expect(await outputsOn(backend, run)).toEqual(await outputsOn('cpu', run));
  });
}

async function outputsOn(
  on: Backend,
  run: (make: MakeTensor) => readonly Tensor[],
): Promise<readonly string[]> {
  const made: Tensor[] = [];
  const outputs = run((values, shape, dtype) => {
    const tensor = LibraryTensor.from(values, shape, dtype, on);
    made.push(tensor);
    return tensor;
  });
  const bytes = await Promise.all(outputs.map(bytesOf));
  for (const tensor of made) tensor[Symbol.dispose]();
  return bytes.map((buffer) => buffer.toString('base64'));
}
