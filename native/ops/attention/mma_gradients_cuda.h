// The backward pass's steps on a tile of queries and a group of keys in shared memory, each by one
// warp on tensor cores: keys' gradients from all queries, then queries' gradients from all keys.
#pragma once

#include "ops/attention/attention_cuda.h"
#include "ops/attention/mma_stage_cuda.h"

namespace capi {

constexpr int kMostGroupWarps = 8;  // each owns 16 keys
constexpr int kMostGroupKeys = kMostGroupWarps * kFragment;
constexpr int kTileQueries = 64;  // their columns in dS fill the banks once
constexpr int kQueryPieces = kTileQueries / kPiece;

// A block's shared memory: 72.5 KiB at 64 channels. Of one size, so that every place in it is a
// constant from its beginning and takes no register.
template <int kD>
struct alignas(16) BackwardTiles {
  bf16 keys[kMostGroupKeys * kD];              // rotated
  bf16 values[kMostGroupKeys * kD];            //
  bf16 slopes[kMostGroupKeys * kTileQueries];  // dS
  bf16 queries[kTileQueries * kD];             // rotated
  bf16 grads[kTileQueries * kD];               // of the output
  bf16 out[kTileQueries * kD];
  float log_sums[kTileQueries];     // of the queries' weights, times log2(e)
  float projections[kTileQueries];  // of the queries: out . grad_out
};

// What a warp sums for the 16 keys that it owns.
template <int kD>
struct KeyGradients {
  float keys[kD / kPiece][4] = {};  // of the rotated keys, without the scale
  float values[kD / kPiece][4] = {};
};

// The gradients of the keys own .. own + 15 from the 16 queries at `tile`; leaves their dS. A key
// from key_count on has no weight: its score of zero may lie far above the rest.
template <int kD>
__device__ __forceinline__ void take_queries(KeyGradients<kD>& sums, BackwardTiles<kD>& tiles,
                                             int own, int tile, int key_count, float scale) {
  constexpr int kPieces = kD / kPiece;
  const int lane = threadIdx.x % kWarpSize, group_row = lane / 4, pair_column = lane % 4 * 2;
  float weights[2][4] = {}, grad_weights[2][4] = {};  // keys by queries
#pragma unroll
  for (int s = 0; s < kD / kFragment; ++s) {
    uint32_t a[4], b[4];
    ldmatrix_x4(a, by_rows<kPieces>(tiles.keys, own, 2 * s));
    ldmatrix_x4(b, by_pieces<kPieces>(tiles.queries, tile, 2 * s));
    mma_pair(weights[0], weights[1], a, b);
    ldmatrix_x4(a, by_rows<kPieces>(tiles.values, own, 2 * s));
    ldmatrix_x4(b, by_pieces<kPieces>(tiles.grads, tile, 2 * s));
    mma_pair(grad_weights[0], grad_weights[1], a, b);
  }
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int query = tile + 8 * side + pair_column;
    const float2 log_sum = *reinterpret_cast<const float2*>(tiles.log_sums + query);
    const float2 projection = *reinterpret_cast<const float2*>(tiles.projections + query);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float shift = e % 2 == 0 ? log_sum.x : log_sum.y;
      const float mean = e % 2 == 0 ? projection.x : projection.y;
      const bool valid = own + group_row + e / 2 * 8 < key_count;
      weights[side][e] = valid ? exp2_approx(weights[side][e] * scale - shift) : 0.0f;
      grad_weights[side][e] = weights[side][e] * (grad_weights[side][e] - mean);
    }
  }
  uint32_t a[4];
  pack_fragment(a, weights[0], weights[1]);
#pragma unroll
  for (int c = 0; c < kPieces; c += 2) {
    uint32_t b[4];
    ldmatrix_x4_trans(b, by_rows<kPieces>(tiles.grads, tile, c));
    mma_pair(sums.values[c], sums.values[c + 1], a, b);
  }
  pack_fragment(a, grad_weights[0], grad_weights[1]);
#pragma unroll
  for (int c = 0; c < kPieces; c += 2) {
    uint32_t b[4];
    ldmatrix_x4_trans(b, by_rows<kPieces>(tiles.queries, tile, c));
    mma_pair(sums.keys[c], sums.keys[c + 1], a, b);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // registers of a: rows 0 and 8, then the next 8 columns
    const int key = own + group_row + i % 2 * 8, piece = tile / kPiece + i / 2;
    *reinterpret_cast<uint32_t*>(tiles.slopes + swizzled<kQueryPieces>(key, piece) + pair_column) =
        a[i];
  }
}

// The channels of a unit of dQ: kPairs pairs of pieces that rope turns together, a quarter of kD
// each.
template <int kD>
struct QueryGradients {
  static constexpr int kPairs = kD / kPiece / 4;
  float pairs[kPairs][2][4] = {};
};

// The gradients of the 16 queries at `tile` from the group's keys, in their order; `half` of the
// channels.
template <int kD>
__device__ __forceinline__ void take_keys(QueryGradients<kD>& sums, BackwardTiles<kD>& tiles,
                                          int tile, int half, int key_count, int distance) {
  constexpr int kPieces = kD / kPiece, kPairs = QueryGradients<kD>::kPairs;
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll 1
  for (int key = 0; key < key_count; key += kFragment) {
    uint32_t a[4];
    ldmatrix_x4_trans(a, by_pieces<kQueryPieces>(tiles.slopes, key, tile / kPiece));
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int piece = first_piece(half * kPairs + i, distance);
      uint32_t b[4];
      ldmatrix_x4_trans(
          b, tiles.keys + swizzled<kPieces>(key + lane % 16, lane < 16 ? piece : piece + distance));
      mma_pair(sums.pairs[i][0], sums.pairs[i][1], a, b);
    }
  }
}

}  // namespace capi
