// One warp and a row: what the norms by rows are made of. kVec: elements in one access, or 1 where
// rows are not aligned.
#pragma once

#include "core/cuda/block.h"
#include "core/cuda/launch.h"

namespace capi {

// Elements in one access of a lane: 16 bytes of f32, and of bf16 where there is no f32 beside it.
template <typename A, typename B>
constexpr int kRowVector = sizeof(A) + sizeof(B) == 2 * sizeof(bf16) ? 8 : 4;

// The sum of products over two rows, which may be one, on every lane. Lanes take vectors in turn,
// so that a warp reads whole lines.
template <int kVec, typename A, typename B>
__device__ __forceinline__ float row_dot(const A* a, const B* b, int dim, int lane) {
  float sum = 0.0f;
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float u[kVec], v[kVec];
    load_floats(u, a + i);
    load_floats(v, b + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) sum += u[j] * v[j];
  }
  return warp_sum(sum);
}

}  // namespace capi
