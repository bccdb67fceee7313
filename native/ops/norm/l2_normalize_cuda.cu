#include "core/device_queue.h"
#include "ops/norm/l2_normalize.h"
#include "ops/norm/row_dot_cuda.h"

namespace capi {

namespace {

// One warp a row. ViT-L rows are 1024 wide: 4 loads of 16 bytes a lane in bf16, so a row stays in
// L1 between its two passes, and memory sees each row once.
constexpr int kWarps = 4;

template <int kVec, typename X, typename Y>
__global__ void l2_normalize_forward_kernel(const X* x,       // (rows, dim)
                                            Y* y,             // (rows, dim), may be x
                                            float* inv_norm,  // (rows) or null
                                            int64_t rows, int dim, int64_t x_stride,
                                            int64_t y_stride, float eps) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= rows) return;
  x += row * x_stride;
  y += row * y_stride;
  const float norm = sqrtf(row_dot<kVec>(x, x, dim, lane));
  const bool clamped = norm < eps;
  const float inverse = 1.0f / (clamped ? eps : norm);
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float v[kVec];
    load_floats(v, x + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] *= inverse;
    store_floats(y + i, v);
  }
  if (inv_norm != nullptr && lane == 0) inv_norm[row] = clamped ? -inverse : inverse;
}

template <int kVec, typename Y, typename X>
__global__ void l2_normalize_backward_kernel(const Y* __restrict__ y,             // (rows, dim)
                                             const float* __restrict__ inv_norm,  // (rows)
                                             const Y* grad_y,                     // (rows, dim)
                                             X* grad_x,  // (rows, dim), may be grad_y
                                             int64_t rows, int dim, int64_t y_stride,
                                             int64_t grad_y_stride, int64_t grad_x_stride) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= rows) return;
  y += row * y_stride;
  grad_y += row * grad_y_stride;
  grad_x += row * grad_x_stride;
  const float saved = inv_norm[row];
  const float inverse = fabsf(saved);
  const float radial = saved < 0 ? 0.0f : row_dot<kVec>(y, grad_y, dim, lane);
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float v[kVec], g[kVec];
    load_floats(v, y + i);
    load_floats(g, grad_y + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) g[j] = (g[j] - v[j] * radial) * inverse;
    store_floats(grad_x + i, g);
  }
}

template <typename X, typename Y>
void forward(const L2NormalizeForward& op, cudaStream_t stream) {
  constexpr int kVec = kRowVector<X, Y>;
  launch(aligned_rows({op.x, op.y}, kVec) ? l2_normalize_forward_kernel<kVec, X, Y>
                                          : l2_normalize_forward_kernel<1, X, Y>,
         blocks_for(op.x.rows, kWarps), dim3(kWarpSize, kWarps), 0, stream, op.x.as<X>(),
         op.y.as<Y>(), op.inv_norm.as<float>(), op.x.rows, op.x.cols, op.x.stride, op.y.stride,
         op.eps);
}

template <typename Y, typename X>
void backward(const L2NormalizeBackward& op, cudaStream_t stream) {
  constexpr int kVec = kRowVector<X, Y>;
  launch(aligned_rows({op.y, op.grad_y, op.grad_x}, kVec) ? l2_normalize_backward_kernel<kVec, Y, X>
                                                          : l2_normalize_backward_kernel<1, Y, X>,
         blocks_for(op.y.rows, kWarps), dim3(kWarpSize, kWarps), 0, stream, op.y.as<Y>(),
         op.inv_norm.as<float>(), op.grad_y.as<Y>(), op.grad_x.as<X>(), op.y.rows, op.y.cols,
         op.y.stride, op.grad_y.stride, op.grad_x.stride);
}

}  // namespace

void l2_normalize_forward_cuda(const L2NormalizeForward& op, DeviceQueue& queue) {
  const cudaStream_t stream = queue.handle();
  if (op.x.dtype == Dtype::kF32) {
    return op.y.dtype == Dtype::kF32 ? forward<float, float>(op, stream)
                                     : forward<float, bf16>(op, stream);
  }
  return op.y.dtype == Dtype::kF32 ? forward<bf16, float>(op, stream)
                                   : forward<bf16, bf16>(op, stream);
}

void l2_normalize_backward_cuda(const L2NormalizeBackward& op, DeviceQueue& queue) {
  const cudaStream_t stream = queue.handle();
  if (op.y.dtype == Dtype::kF32) {
    return op.grad_x.dtype == Dtype::kF32 ? backward<float, float>(op, stream)
                                          : backward<float, bf16>(op, stream);
  }
  return op.grad_x.dtype == Dtype::kF32 ? backward<bf16, float>(op, stream)
                                        : backward<bf16, bf16>(op, stream);
}

}  // namespace capi
