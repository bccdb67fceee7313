#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/tensor/cast.h"

namespace capi {

namespace {

// A block passes over the 1024 columns of a row of ViT-L, or that much of a contiguous arena. Four
// elements a thread, 16 bytes of f32 and 8 of bf16: a warp's accesses are whole lines in both.
constexpr int kThreads = 256;
constexpr int kVector = 4;
constexpr int64_t kMostGridY = 65535;

// Reads and writes every element once.
template <int kVec, typename From, typename To>
__global__ void cast_kernel(const From* __restrict__ x,  // (rows, cols)
                            To* __restrict__ y,          // (rows, cols)
                            int64_t rows, int64_t cols, int64_t x_stride, int64_t y_stride) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  if (first >= cols) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const From* const from = x + row * x_stride + first;
    To* const to = y + row * y_stride + first;
    if (first + kVec <= cols) {
      float values[kVec];
      load_floats(values, from);
      store_floats(to, values);
    } else {
      for (int i = 0; i < cols - first; ++i) to[i] = from_float<To>(to_float(from[i]));
    }
  }
}

template <typename From, typename To>
void cast(const Cast& op, cudaStream_t stream) {
  const bool one_row = op.x.contiguous() && op.y.contiguous();
  const int64_t rows = one_row ? 1 : op.x.rows, cols = one_row ? op.x.size() : op.x.cols;
  // The kernel sees to ragged ends itself.
  const bool wide = aligned_rows({op.x, op.y}, 1);
  const dim3 grid(blocks_for(cols, wide ? kThreads * kVector : kThreads),
                  static_cast<unsigned>(rows < kMostGridY ? rows : kMostGridY));
  launch(wide ? cast_kernel<kVector, From, To> : cast_kernel<1, From, To>, grid, kThreads, 0,
         stream, op.x.as<From>(), op.y.as<To>(), rows, cols, op.x.stride, op.y.stride);
}

}  // namespace

void cast_cuda(const Cast& op, DeviceQueue& queue) {
  const bool from_bf16 = op.x.dtype == Dtype::kBF16;
  if (op.y.dtype == Dtype::kBF16) {
    return from_bf16 ? cast<bf16, bf16>(op, queue.handle()) : cast<float, bf16>(op, queue.handle());
  }
  return from_bf16 ? cast<bf16, float>(op, queue.handle()) : cast<float, float>(op, queue.handle());
}

}  // namespace capi
