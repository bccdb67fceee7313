// Rows of bf16 in shared memory as tensor cores take them. They lie as they do in a matrix, in
// pieces of 16 bytes (8 channels) whose order within a row is xor-swizzled: the 8 rows that one
// ldmatrix reads at one piece, and the 8 rows that one store of a fragment writes, then fall on
// different banks, without padding.
#pragma once

#include "core/cuda/block.h"

namespace capi {

constexpr int kPiece = 8;  // bf16 in 16 bytes
constexpr int kFragment = 16;

// Where piece `piece` of row `row` lies in rows of kPieces pieces, in elements.
template <int kPieces>
__device__ __forceinline__ int swizzled(int row, int piece) {
  static_assert(kPieces == 4 || kPieces == 8, "two rows, or one, span the banks");
  const int turned = kPieces == 8 ? piece ^ (row & 7) : piece ^ (row >> 1 & 3);
  return (row * kPieces + turned) * kPiece;
}

// ldmatrix's operands from swizzled rows: each takes four 8 x 8 matrices, the pieces `piece` (even)
// and piece + 1 of the rows row .. row + 15, a multiple of 16. Since the swizzle is an xor, the
// lane's place at piece 0 gives the others by an xor with a constant.
//   by_rows: a fragment of A with these rows; transposed: two of B whose k is the rows.
template <int kPieces>
__device__ __forceinline__ const bf16* by_rows(const bf16* tile, int row, int piece) {
  const int lane = threadIdx.x % kWarpSize;
  return tile + row * kPieces * kPiece +
         (swizzled<kPieces>(lane % 16, lane / 16) ^ (piece * kPiece));
}
//   by_pieces: two fragments of B whose n is the rows; transposed: one of A whose k is the rows.
template <int kPieces>
__device__ __forceinline__ const bf16* by_pieces(const bf16* tile, int row, int piece) {
  const int lane = threadIdx.x % kWarpSize;
  return tile + row * kPieces * kPiece +
         (swizzled<kPieces>(lane % 8 + lane / 16 * 8, lane / 8 % 2) ^ (piece * kPiece));
}

// c[0], c[1] += a b for the two fragments that a by_rows or by_pieces load gives for B.
__device__ __forceinline__ void mma_pair(float (&first)[4], float (&second)[4],
                                         const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
  mma_m16n8k16(first, a, low);
  mma_m16n8k16(second, a, high);
}

// Both accumulators of 16 rows by 16 columns as one fragment of A.
__device__ __forceinline__ void pack_fragment(uint32_t (&a)[4], const float (&left)[4],
                                              const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

}  // namespace capi
