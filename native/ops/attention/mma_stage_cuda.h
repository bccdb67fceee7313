// Rows on their way from device memory to a tile in shared memory. All that a tile needs is asked
// for at once and without registers; when it has come, rope turns it in place. A thread takes the
// same pairs of pieces, those that rope turns together, in every function: its own copies are all
// it waits for.
#pragma once

#include "ops/attention/angle_table_cuda.h"
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

// The first piece of pair `pair` of pieces, `distance` (a power of two) apart.
__device__ __forceinline__ int first_piece(int pair, int distance) {
  return pair + (pair & ~(distance - 1));
}

// Starts copying `count` rows; zeros in rows up to a multiple of 16.
template <int kD>
__device__ __forceinline__ void copy_rows(Team team, bf16* tile, const bf16* from, int64_t stride,
                                          int distance, int count) {
  constexpr int kPieces = kD / kPiece, kPairs = kPieces / 2;
#pragma unroll 1
  for (int item = team.rank; item < padded(count) * kPairs; item += team.size) {
    const int row = item / kPairs, i = first_piece(item % kPairs, distance), j = i + distance;
    const bool valid = row < count;
    const bf16* const source = from + (valid ? row : 0) * stride + i * kPiece;
    cp_async_16(tile + swizzled<kPieces>(row, i), source, valid);
    cp_async_16(tile + swizzled<kPieces>(row, j), source + distance * kPiece, valid);
  }
}

// tile = rope(tile). table: kD angles a row, or null without rope.
template <int kD>
__device__ __forceinline__ void turn_rows(Team team, bf16* tile, const uint32_t* table,
                                          int distance, int count) {
  constexpr int kPieces = kD / kPiece, kPairs = kPieces / 2;
  if (table == nullptr) return;
#pragma unroll 1
  for (int item = team.rank; item < count * kPairs; item += team.size) {
    const int row = item / kPairs, i = first_piece(item % kPairs, distance), j = i + distance;
    bf16* const at_i = tile + swizzled<kPieces>(row, i);
    bf16* const at_j = tile + swizzled<kPieces>(row, j);
    const uint32_t* const angles = table + row * kD + i * kPiece;
    float a[kPiece], b[kPiece];
    load_floats(a, at_i);
    load_floats(b, at_j);
#pragma unroll
    for (int c = 0; c < kPiece; c += 4) {
      const uint4 first = load_16<uint4>(angles + c);
      const uint4 second = load_16<uint4>(angles + distance * kPiece + c);
      turn(a[c], b[c], first.x, second.x);
      turn(a[c + 1], b[c + 1], first.y, second.y);
      turn(a[c + 2], b[c + 2], first.z, second.z);
      turn(a[c + 3], b[c + 3], first.w, second.w);
    }
    store_floats(at_i, a);
    store_floats(at_j, b);
  }
}

}  // namespace capi
