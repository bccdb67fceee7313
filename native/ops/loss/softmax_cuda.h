// What the kernels of this family and of clustering/ share: a temperature for powers of two, and
// reductions over a block that cost one barrier. For *_cuda.cu files only.
#pragma once

#include "core/cuda/block.h"

namespace capi {

constexpr float kLn2 = 0.69314718055994531f;

// log2(e) / temperature: exp((x - most) / temperature) = exp2_approx((x - most) * this). A rounding
// of the product changes an entry by 2^-24 of its own exponent, which is small where the entry is
// not.
inline float softmax_slope(double temperature) {
  return static_cast<float>(1.4426950408889634 / temperature);
}

// Reductions over a one-dimensional block of whole warps, for all of its threads, in an order that
// depends on the block's size only. Two buffers take turns: when a warp writes to one for the next
// time, the barrier of the other buffer has seen every warp done with reading it.
class BlockReduction {
 public:
  static constexpr int kMostValues = 3;
  static constexpr size_t kSharedBytes = 2 * kMostValues * kWarpSize * sizeof(float);

  // shared: kSharedBytes of the block's.
  __device__ explicit BlockReduction(float* shared) : shared_(shared) {}

  // The shared memory behind its own.
  __device__ float* after() const { return shared_ + kSharedBytes / sizeof(float); }

  // Every value becomes its sum over the block; the first its maximum when kMaxFirst, in which a
  // NaN is passed over where another value is a number.
  template <bool kMaxFirst = false, int kValues>
  __device__ __forceinline__ void operator()(float (&values)[kValues]) {
    static_assert(kValues <= kMostValues, "the buffers have room for so many");
    const int lane = static_cast<int>(threadIdx.x % kWarpSize);
    const int warp = static_cast<int>(threadIdx.x / kWarpSize);
    const int warps = static_cast<int>(blockDim.x / kWarpSize);
    float* const buffer = shared_ + turn_ * kMostValues * kWarpSize;
    turn_ ^= 1;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      values[i] = kMaxFirst && i == 0 ? warp_most(values[i]) : warp_sum(values[i]);
      if (lane == 0) buffer[i * kWarpSize + warp] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (kMaxFirst && i == 0) {
        values[i] = warp_most(buffer[lane < warps ? lane : 0]);
      } else {
        values[i] = warp_sum(lane < warps ? buffer[i * kWarpSize + lane] : 0.0f);
      }
    }
  }

 private:
  __device__ __forceinline__ static float warp_most(float value) {
#pragma unroll
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
    }
    return value;
  }

  float* shared_;
  int turn_ = 0;
};

}  // namespace capi
