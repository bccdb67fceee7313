// From gradients of rotated rows, in the registers of tensor cores, to gradients of the rows in
// device memory: the transpose of rope.
#pragma once

#include "ops/attention/angle_table_cuda.h"
#include "ops/attention/mma_tile_cuda.h"

namespace capi {

// Writes the gradients of two neighbouring channels and of their partners from those of the rotated
// row. angles: the row's at the first of the four channels, or null without rope.
__device__ __forceinline__ void store_rotated_back(bf16* to, const uint32_t* angles, int partner,
                                                   float scale, float2 first, float2 second) {
  if (angles != nullptr) {
    const uint2 i = load_8(angles), j = load_8(angles + partner);
    turn_back(first.x, second.x, i.x, j.x);
    turn_back(first.y, second.y, i.y, j.y);
  }
  *reinterpret_cast<uint32_t*>(to) = pack_bf16(scale * first.x, scale * first.y);
  *reinterpret_cast<uint32_t*>(to + partner) = pack_bf16(scale * second.x, scale * second.y);
}

// The 16 rows of dK that a warp owns; kDistance: of the pieces that rope turns together.
template <int kD, int kDistance>
__device__ __forceinline__ void store_grad_keys(const float (&sums)[kD / kPiece][4], bf16* to,
                                                int64_t stride, const uint32_t* table, float scale,
                                                int count) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    if (row >= count) continue;
#pragma unroll
    for (int i = 0; i < kD / kPiece; ++i) {
      if (i / kDistance % 2 != 0) continue;  // a second of a pair
      const int channel = i * kPiece + lane % 4 * 2;
      store_rotated_back(
          to + row * stride + channel, table != nullptr ? table + row * kD + channel : nullptr,
          kDistance * kPiece, scale, make_float2(sums[i][2 * half], sums[i][2 * half + 1]),
          make_float2(sums[i + kDistance][2 * half], sums[i + kDistance][2 * half + 1]));
    }
  }
}

}  // namespace capi
