// One matrix product by cuBLASLt: d = alpha op(a) op(b) + beta c [+ bias], on row-major views. Sums
// are in f32, and d is rounded once.
//
// Which of cuBLASLt's algorithms multiplies depends on shapes, strides, types and alignment only,
// so that every run gives the same bits; it is the one that cuBLASLt estimates to be the best. With
// CAPI_CUBLASLT_TUNE=1 the best estimates are timed when a product is first met, and the choices
// kept for later runs (gemm_tuning_cuda.h).
#pragma once

#include <cstddef>

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;

// NVIDIA's advice for Hopper, and enough for older GPUs.
constexpr size_t kProductWorkspaceBytes = size_t{32} << 20;

// a and b of one dtype; c and d of one dtype: f32, or bf16 where a is.
struct Product {
  MatrixView a, b;
  bool transpose_a, transpose_b;
  float alpha;
  MatrixView c;  // may be d; not there: beta is 0
  MatrixView d;
  MatrixView bias;  // (1, d.cols), dtype of d, 16-byte aligned; or not there
};

// k > 0. workspace: device memory of kProductWorkspaceBytes, 256-byte aligned.
void product_cuda(const Product& product, void* workspace, DeviceQueue& queue);

}  // namespace capi
