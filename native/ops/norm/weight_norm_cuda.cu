#include "core/device_queue.h"
#include "ops/norm/row_dot_cuda.h"
#include "ops/norm/weight_norm.h"

namespace capi {

namespace {

// One warp a row of a prototype, 4 KB of f32 for ViT-L: it stays in L1 between the passes, and
// memory sees it once.
constexpr int kWarps = 4;

template <int kVec, typename T>
__global__ void weight_norm_forward_kernel(const float* __restrict__ v,  // (rows, dim)
                                           const float* __restrict__ g,  // (rows)
                                           T* __restrict__ weight,       // (rows, dim)
                                           int64_t rows, int dim, float eps) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= rows) return;
  v += row * dim;
  weight += row * dim;
  const float scale = g[row] / (sqrtf(row_dot<kVec>(v, v, dim, lane)) + eps);
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float w[kVec];
    load_floats(w, v + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) w[j] *= scale;
    store_floats(weight + i, w);
  }
}

template <int kVec>
__global__ void weight_norm_backward_kernel(const float* __restrict__ v,  // (rows, dim)
                                            const float* __restrict__ g,  // (rows)
                                            const float* grad_weight,     // (rows, dim)
                                            float* grad_v,  // (rows, dim), may be grad_weight
                                            float* __restrict__ grad_g,  // (rows)
                                            int64_t rows, int dim, float eps) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= rows) return;
  v += row * dim;
  grad_weight += row * dim;
  grad_v += row * dim;
  const float norm = sqrtf(row_dot<kVec>(v, v, dim, lane));
  const float scale = g[row] / (norm + eps);
  const float along = row_dot<kVec>(grad_weight, v, dim, lane) / (norm + eps);
  const float radial = norm == 0.0f ? 0.0f : scale * (along / norm);
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float u[kVec], w[kVec];
    load_floats(u, v + i);
    load_floats(w, grad_weight + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) w[j] = w[j] * scale - u[j] * radial;
    store_floats(grad_v + i, w);
  }
  if (lane == 0) grad_g[row] = along;
}

template <typename T>
void forward(const WeightNormForward& op, cudaStream_t stream) {
  constexpr int kVec = kRowVector<float, T>;
  launch(aligned_rows({op.v, op.weight}, kVec) ? weight_norm_forward_kernel<kVec, T>
                                               : weight_norm_forward_kernel<1, T>,
         blocks_for(op.v.rows, kWarps), dim3(kWarpSize, kWarps), 0, stream, op.v.as<float>(),
         op.g.as<float>(), op.weight.as<T>(), op.v.rows, op.v.cols, op.eps);
}

}  // namespace

void weight_norm_forward_cuda(const WeightNormForward& op, DeviceQueue& queue) {
  return op.weight.dtype == Dtype::kF32 ? forward<float>(op, queue.handle())
                                        : forward<bf16>(op, queue.handle());
}

void weight_norm_backward_cuda(const WeightNormBackward& op, DeviceQueue& queue) {
  constexpr int kVec = kRowVector<float, float>;
  launch(aligned_rows({op.v, op.grad_weight, op.grad_v}, kVec) ? weight_norm_backward_kernel<kVec>
                                                               : weight_norm_backward_kernel<1>,
         blocks_for(op.v.rows, kWarps), dim3(kWarpSize, kWarps), 0, queue.handle(),
         op.v.as<float>(), op.g.as<float>(), op.grad_weight.as<float>(), op.grad_v.as<float>(),
         op.grad_g.as<float>(), op.v.rows, op.v.cols, op.eps);
}

}  // namespace capi
