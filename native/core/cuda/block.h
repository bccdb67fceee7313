// What most kernels need: 16-byte loads and stores, element conversion, sums and maxima over a warp
// or a block. All sums are taken in a fixed order, so that two runs give the same bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/cuda/ptx.h"
#include "core/dtype.h"

namespace capi {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Rounds to nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  return {static_cast<uint16_t>(pack_bf16(value, 0.0f))};
}

// kCount neighbours in one access, as floats: 16 bytes of bf16 for 8, of f32 for 4; 8 bytes of bf16
// for 4, beside 16 of f32. The address is a multiple of the access.
template <int kCount>
__device__ __forceinline__ void load_floats(float (&values)[kCount], const float* from) {
  static_assert(kCount == 1 || kCount % 4 == 0, "whole 16-byte accesses, or one element");
  if constexpr (kCount == 1) {
    values[0] = *from;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = load_16<float4>(from + i);
      values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
    }
  }
}
template <int kCount>
__device__ __forceinline__ void load_floats(float (&values)[kCount], const bf16* from) {
  static_assert(kCount == 1 || kCount == 4 || kCount % 8 == 0, "whole accesses, or one element");
  if constexpr (kCount == 1) {
    values[0] = to_float(*from);
  } else if constexpr (kCount == 4) {
    const uint2 four = load_8(from);
    values[0] = __uint_as_float(four.x << 16), values[1] = __uint_as_float(four.x & 0xffff0000u);
    values[2] = __uint_as_float(four.y << 16), values[3] = __uint_as_float(four.y & 0xffff0000u);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 8) {
      const uint4 eight = load_16<uint4>(from + i);
      const uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        values[i + 2 * j] = __uint_as_float(pairs[j] << 16);
        values[i + 2 * j + 1] = __uint_as_float(pairs[j] & 0xffff0000u);
      }
    }
  }
}
template <int kCount>
__device__ __forceinline__ void store_floats(float* to, const float (&values)[kCount]) {
  static_assert(kCount == 1 || kCount % 4 == 0, "whole 16-byte accesses, or one element");
  if constexpr (kCount == 1) {
    *to = values[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      store_16(to + i, make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]));
    }
  }
}
template <int kCount>
__device__ __forceinline__ void store_floats(bf16* to, const float (&values)[kCount]) {
  static_assert(kCount == 1 || kCount == 4 || kCount % 8 == 0, "whole accesses, or one element");
  if constexpr (kCount == 1) {
    *to = from_float<bf16>(values[0]);
  } else if constexpr (kCount == 4) {
    store_8(to, make_uint2(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3])));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 8) {
      store_16(to + i, make_uint4(pack_bf16(values[i], values[i + 1]),
                                  pack_bf16(values[i + 2], values[i + 3]),
                                  pack_bf16(values[i + 4], values[i + 5]),
                                  pack_bf16(values[i + 6], values[i + 7])));
    }
  }
}

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, offset);
  }
  return value;
}
// NaN when any value is.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, offset);
    value = other > value || other != other ? other : value;
  }
  return value;
}

// The sum over a one-dimensional block of whole warps, on every thread. `partial`: shared memory
// for one value a warp, free to be reused when the call returns.
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* partial) {
  const unsigned lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const unsigned warps = blockDim.x / kWarpSize;
  value = warp_sum(value);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  const T total = warp_sum(lane < warps ? partial[lane] : T{0});
  __syncthreads();
  return total;
}
__device__ __forceinline__ float block_max(float value, float* partial) {
  const unsigned lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const unsigned warps = blockDim.x / kWarpSize;
  value = warp_max(value);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  const float most = warp_max(partial[lane < warps ? lane : 0]);
  __syncthreads();
  return most;
}

}  // namespace capi
