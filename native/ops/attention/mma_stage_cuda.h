// Rows on their way from device memory to a tile in shared memory: as they are, without passing
// through registers, or rotated by rope.
#pragma once

#include "ops/attention/mma_tile_cuda.h"

namespace capi {

__device__ __forceinline__ int padded(int rows) {
  return (rows + kFragment - 1) / kFragment * kFragment;
}

// Threads that fill a tile together: a warp, or a block.
struct Team {
  int rank, size;
};
__device__ __forceinline__ Team block_team() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
}
__device__ __forceinline__ Team warp_team() {
  return {static_cast<int>(threadIdx.x % kWarpSize), kWarpSize};
}

// Starts copying `count` rows; zeros in rows up to a multiple of 16.
template <int kD>
__device__ __forceinline__ void copy_rows(Team team, bf16* tile, const bf16* from, int64_t stride,
                                          int count) {
  constexpr int kPieces = kD / kPiece;
  for (int i = team.rank; i < padded(count) * kPieces; i += team.size) {
    const int row = i / kPieces, piece = i % kPieces;
    const bool valid = row < count;
    cp_async_16(tile + swizzled<kPieces>(row, piece),
                valid ? from + row * stride + piece * kPiece : from, valid);
  }
}

// The first piece of pair `pair` of pieces that rope turns together, `distance` (a power of two)
// apart.
__device__ __forceinline__ int first_piece(int pair, int distance) {
  return pair + (pair & ~(distance - 1));
}

// tile = rope(from), zeros in rows up to a multiple of 16. table: 2 kD floats a row, or
// null without rope. A thread takes a pair of pieces at a time.
template <int kD>
__device__ __forceinline__ void stage_rotated(Team team, bf16* tile, const bf16* from,
                                              int64_t stride, const float* table, int distance,
                                              int count) {
  constexpr int kPieces = kD / kPiece, kPairs = kPieces / 2;
#pragma unroll 1
  for (int item = team.rank; item < padded(count) * kPairs; item += team.size) {
    const int row = item / kPairs, i = first_piece(item % kPairs, distance), j = i + distance;
    float a[kPiece] = {}, b[kPiece] = {};
    if (row < count) {
      load_floats(a, from + row * stride + i * kPiece);
      load_floats(b, from + row * stride + j * kPiece);
      if (table != nullptr) {
        const float* const cosine = table + int64_t{row} * 2 * kD;
        // By halves: the backward pass has few registers left.
#pragma unroll
        for (int half = 0; half < kPiece; half += 4) {
          float cos_i[4], sin_i[4], cos_j[4], sin_j[4];
          load_floats(cos_i, cosine + i * kPiece + half);
          load_floats(sin_i, cosine + kD + i * kPiece + half);
          load_floats(cos_j, cosine + j * kPiece + half);
          load_floats(sin_j, cosine + kD + j * kPiece + half);
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const float first = a[half + c] * cos_i[c] - b[half + c] * sin_i[c];
            b[half + c] = b[half + c] * cos_j[c] + a[half + c] * sin_j[c];
            a[half + c] = first;
          }
        }
      }
    }
    store_floats(tile + swizzled<kPieces>(row, i), a);
    store_floats(tile + swizzled<kPieces>(row, j), b);
  }
}

}  // namespace capi
