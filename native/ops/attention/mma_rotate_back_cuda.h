// From gradients of rotated rows, in the registers of tensor cores, to gradients of the rows in
// device memory: the transpose of rope.
#pragma once

#include "ops/attention/mma_tile_cuda.h"

namespace capi {

// Writes the gradients of two neighbouring channels and of their partners from those of the rotated
// row: the transpose of rope. cosine: the row's table at the first of the four channels, or null.
template <int kD>
__device__ __forceinline__ void store_rotated_back(bf16* to, const float* cosine, int partner,
                                                   float scale, float first0, float first1,
                                                   float second0, float second1) {
  first0 *= scale, first1 *= scale, second0 *= scale, second1 *= scale;
  if (cosine != nullptr) {
    const float2 cos_i = *reinterpret_cast<const float2*>(cosine);
    const float2 cos_j = *reinterpret_cast<const float2*>(cosine + partner);
    const float2 sin_i = *reinterpret_cast<const float2*>(cosine + kD);
    const float2 sin_j = *reinterpret_cast<const float2*>(cosine + kD + partner);
    const float i0 = first0 * cos_i.x + second0 * sin_j.x;
    const float i1 = first1 * cos_i.y + second1 * sin_j.y;
    second0 = second0 * cos_j.x - first0 * sin_i.x;
    second1 = second1 * cos_j.y - first1 * sin_i.y;
    first0 = i0, first1 = i1;
  }
  *reinterpret_cast<uint32_t*>(to) = pack_bf16(first0, first1);
  *reinterpret_cast<uint32_t*>(to + partner) = pack_bf16(second0, second1);
}

// The 16 rows of dK that a warp owns; kDistance: of the pieces that rope turns together.
template <int kD, int kDistance>
__device__ __forceinline__ void store_grad_keys(const float (&sums)[kD / kPiece][4], bf16* to,
                                                int64_t stride, const float* table, float scale,
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
      store_rotated_back<kD>(to + row * stride + channel,
                             table != nullptr ? table + int64_t{row} * 2 * kD + channel : nullptr,
                             kDistance * kPiece, scale, sums[i][2 * half], sums[i][2 * half + 1],
                             sums[i + kDistance][2 * half], sums[i + kDistance][2 * half + 1]);
    }
  }
}

}  // namespace capi
