#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "core/philox.h"
#include "ops/tensor/fill_random.h"

namespace capi {

namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 4;  // one Philox call makes four elements

// The CPU's numbers bit for bit: odd multiples of 2^-23 in (-1, 1) are exact in f32, so that one
// rounding is left, that of the product with scale.
__device__ void uniform_four(const Philox4& random, float scale, float (&out)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const float unit = (static_cast<float>(random.word[i] >> 9) + 0.5f) * 0x1p-22f - 1.0f;
    out[i] = unit * scale;
  }
}

// The CPU's to the rounding of f64 functions. The angle is given in units of pi, which spares the
// device the reduction of large arguments.
__device__ void normal_four(const Philox4& random, float scale, float (&out)[kGroup]) {
#pragma unroll
  for (int i = 0; i < kGroup; i += 2) {
    const double radius = sqrt(-2.0 * log((random.word[i] + 0.5) * 0x1p-32));
    double sine, cosine;
    sincospi(random.word[i + 1] * 0x1p-31, &sine, &cosine);
    out[i] = static_cast<float>(radius * cosine) * scale;
    out[i + 1] = static_cast<float>(radius * sine) * scale;
  }
}

// One group a thread. The views are contiguous; kVec is kGroup where x is aligned to 16 bytes.
template <int kVec, typename T>
__global__ void fill_random_kernel(T* __restrict__ x,  // (size)
                                   int64_t size, Distribution distribution, float scale,
                                   uint64_t seed, uint32_t tensor) {
  const int64_t group = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t first = group * kGroup;
  if (first >= size) return;
  const Philox4 random = philox(seed, static_cast<uint32_t>(RandomStream::kInit),
                                static_cast<uint64_t>(group), tensor);
  float values[kGroup];
  if (distribution == Distribution::kUniform) {
    uniform_four(random, scale, values);
  } else {
    normal_four(random, scale, values);
  }
  if (kVec == kGroup && first + kGroup <= size) {
    store_floats(x + first, values);
  } else {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      if (first + i < size) x[first + i] = from_float<T>(values[i]);
    }
  }
}

template <typename T>
void fill(const FillRandom& op, cudaStream_t stream) {
  const bool wide = aligned_rows({op.x}, 1);
  launch(wide ? fill_random_kernel<kGroup, T> : fill_random_kernel<1, T>,
         blocks_for(op.x.size(), kThreads * kGroup), kThreads, 0, stream, op.x.as<T>(), op.x.size(),
         op.distribution, op.scale, op.seed, op.stream);
}

}  // namespace

void fill_random_cuda(const FillRandom& op, DeviceQueue& queue) {
  return op.x.dtype == Dtype::kF32 ? fill<float>(op, queue.handle())
                                   : fill<bf16>(op, queue.handle());
}

}  // namespace capi
