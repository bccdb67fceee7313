/**
 * Tensors on the backend under test: `CAPI_TEST_BACKEND=cuda` with CAPI_ADDON naming a build that has CUDA kernels, on a GPU or
 * on the interpreter. Tests of ops make their tensors here.
 */
import type { Backend } from '../../lib/native/addon.js';
import type { Dtype } from '../../lib/tensor/dtype.js';
import { Tensor as LibraryTensor } from '../../lib/tensor/tensor.js';

export const backend: Backend = process.env.CAPI_TEST_BACKEND === 'cuda' ? 'cuda' : 'cpu';

export type Tensor = LibraryTensor;
export const Tensor = {
  zeros: (shape: readonly number[], dtype: Dtype) => LibraryTensor.zeros(shape, dtype, backend),
  from: (values: ArrayLike<number>, shape: readonly number[], dtype: Dtype) =>
    LibraryTensor.from(values, shape, dtype, backend),
};
