// Softmax of 16 queries' scores and their products with V, by one warp on tensor cores: scores,
// running maximum, sum and output stay in its registers.
#pragma once

#include <cmath>

#include "ops/attention/attention_cuda.h"
#include "ops/attention/mma_tile_cuda.h"

namespace capi {

// Keys of a softmax step: its 16 x 64 scores are 32 registers a lane. The running maximum is taken
// once for so many keys.
constexpr int kStepKeys = 32;

// What a warp keeps of 16 queries; a lane has columns of two rows.
template <int kD>
struct RunningSoftmax {
  float sums[kD / kPiece][4] = {};  // weights times values
  float most[2] = {-INFINITY, -INFINITY};
  float total[2] = {};  // this lane's columns only, until the end
};

// scores = queries (16, kD) times the transpose of keys (kStepKeys, kD), minus infinity from
// `count` on.
template <int kD>
__device__ __forceinline__ void score_keys(float (&scores)[kStepKeys / 8][4], const bf16* queries,
                                           const bf16* keys, int count) {
  constexpr int kPieces = kD / kPiece;
#pragma unroll
  for (int s = 0; s < kD / kFragment; ++s) {
    uint32_t a[4];
    ldmatrix_x4(a, by_rows<kPieces>(queries, 0, 2 * s));
#pragma unroll
    for (int t = 0; t < kStepKeys / kFragment; ++t) {
      if (t * kFragment >= count) continue;
      uint32_t b[4];
      ldmatrix_x4(b, by_pieces<kPieces>(keys, t * kFragment, 2 * s));
      mma_pair(scores[2 * t], scores[2 * t + 1], a, b);
    }
  }
  if (count >= kStepKeys) return;
  const int pair_column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int t = 0; t < kStepKeys / 8; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (t * 8 + pair_column + e % 2 >= count) scores[t][e] = -INFINITY;
    }
  }
}

// Scores become weights relative to the new maximum, and what was summed so far shrinks to it.
// fmaxf leaves NaN out, but its exponential is NaN too.
template <int kD>
__device__ __forceinline__ void weigh(RunningSoftmax<kD>& rows, float (&scores)[kStepKeys / 8][4],
                                      float scale) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float highest = rows.most[half];
#pragma unroll
    for (int t = 0; t < kStepKeys / 8; ++t) {
      highest = fmaxf(highest, fmaxf(scores[t][2 * half], scores[t][2 * half + 1]));
    }
    highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
    const float shrink = exp2_approx((rows.most[half] - highest) * scale);
    const float shift = highest * scale;
    rows.most[half] = highest;
    rows.total[half] *= shrink;
#pragma unroll
    for (int c = 0; c < kD / kPiece; ++c) {
      rows.sums[c][2 * half] *= shrink;
      rows.sums[c][2 * half + 1] *= shrink;
    }
#pragma unroll
    for (int t = 0; t < kStepKeys / 8; ++t) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        scores[t][e] = exp2_approx(scores[t][e] * scale - shift);
        rows.total[half] += scores[t][e];
      }
    }
  }
}

// Takes `count` keys into the softmax of 16 queries.
template <int kD>
__device__ __forceinline__ void attend(RunningSoftmax<kD>& rows, const bf16* queries,
                                       const bf16* keys, const bf16* values, int count,
                                       float scale) {
  constexpr int kPieces = kD / kPiece;
#pragma unroll 1
  for (int step = 0; step < count; step += kStepKeys) {
    float scores[kStepKeys / 8][4] = {};
    score_keys<kD>(scores, queries, keys + step * kD, count - step);
    weigh<kD>(rows, scores, scale);
#pragma unroll
    for (int t = 0; t < kStepKeys / kFragment; ++t) {
      if (step + t * kFragment >= count) continue;
      uint32_t weights[4];
      pack_fragment(weights, scores[2 * t], scores[2 * t + 1]);
#pragma unroll
      for (int c = 0; c < kPieces; c += 2) {
        uint32_t b[4];
        ldmatrix_x4_trans(b, by_rows<kPieces>(values, step + t * kFragment, c));
        mma_pair(rows.sums[c], rows.sums[c + 1], weights, b);
      }
    }
  }
}

// Writes `count` rows, through `tile` in shared memory so that the accesses are of 16 bytes.
template <int kD>
__device__ __forceinline__ void finish(RunningSoftmax<kD>& rows, bf16* tile, int count, float scale,
                                       bf16* out, int64_t stride, float* lse) {
  constexpr int kPieces = kD / kPiece;
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float total = rows.total[half];
    total += __shfl_xor_sync(kAllLanes, total, 1);
    total += __shfl_xor_sync(kAllLanes, total, 2);
    const float inverse = 1.0f / total;
    const int row = lane / 4 + 8 * half;
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
      *reinterpret_cast<uint32_t*>(tile + swizzled<kPieces>(row, c) + lane % 4 * 2) =
          pack_bf16(rows.sums[c][2 * half] * inverse, rows.sums[c][2 * half + 1] * inverse);
    }
    if (lse != nullptr && lane % 4 == 0 && row < count) {
      lse[row] = rows.most[half] * scale * kLn2 + logf(total);
    }
  }
  __syncwarp();
  for (int i = lane; i < count * kPieces; i += kWarpSize) {
    const int row = i / kPieces, piece = i % kPieces;
    store_16(out + row * stride + piece * kPiece,
             load_16<uint4>(tile + swizzled<kPieces>(row, piece)));
  }
}

}  // namespace capi
