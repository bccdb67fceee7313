// The parts of attention in f32 arithmetic, for any head size, number of tokens and dtype. Queries
// and keys are rotated to f32 scratch once; then blocks own a tile of rows of one image and head in
// shared memory and stream the other side past it in tiles.
#pragma once

#include <type_traits>

#include "core/cuda/block.h"
#include "core/cuda/carver.h"
#include "core/cuda/launch.h"
#include "ops/attention/attention_cuda.h"

namespace capi {

// A warp owns 8 rows and its lanes are the streamed tile's rows: a key read once from shared memory
// meets 8 queries in registers.
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kRowsPerWarp = 8;
constexpr int kTile = kWarps * kRowsPerWarp;
static_assert(kTile == kWarpSize, "a streamed tile has a row for each lane");

// What all kernels of one op share. Rotated queries carry scale * log2(e).
struct Problem {
  const float* queries;  // (images * n_q, heads * d), rotated
  const float* keys;     // (images * n_k, heads * d), rotated
  Places places;
  int64_t images, heads, n_q, n_k, d;

  constexpr int64_t width() const { return heads * d; }
};

// A block's part: a tile of rows of one image and head.
struct Part {
  int64_t image, head, first;
};
__device__ __forceinline__ Part part_of(const Problem& p, int64_t n) {
  const int64_t tiles = (n + kTile - 1) / kTile, block = blockIdx.x;
  return {block / tiles / p.heads, block / tiles % p.heads, block % tiles * kTile};
}

// Rows of d floats in shared memory: an odd number of 16-byte pieces apart, so that lanes that read
// one piece of a row each meet all banks.
constexpr int pitch_of(int64_t d) { return static_cast<int>(d / 4 | 1) * 4; }

// A tile of rows that follow each other at `stride`; zeros beyond `count`. One row a warp at a
// time.
template <typename T>
__device__ __forceinline__ void load_tile(float* to, const T* from, int64_t stride, int64_t count,
                                          int d) {
  const int lane = threadIdx.x % kWarpSize, pitch = pitch_of(d);
  for (int row = threadIdx.x / kWarpSize; row < kTile; row += kWarps) {
    for (int c = lane; c < d; c += kWarpSize) {
      to[row * pitch + c] = row < count ? to_float(from[row * stride + c]) : 0.0f;
    }
  }
}

// Of this warp's rows with the lane's row of the streamed tile.
__device__ __forceinline__ void dots(float (&sums)[kRowsPerWarp], const float* rows,
                                     const float* streamed, int d) {
  const int lane = threadIdx.x % kWarpSize, pitch = pitch_of(d);
  const float* const mine = rows + threadIdx.x / kWarpSize * kRowsPerWarp * pitch;
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) sums[r] = 0.0f;
  for (int c = 0; c < d; c += 4) {
    const float4 b = load_16<float4>(streamed + lane * pitch + c);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const float4 a = load_16<float4>(mine + r * pitch + c);
      sums[r] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    }
  }
}

// sums (8 rows, channels lane + 32 c) += weights (8 rows, 32) streamed (32, d), where weights[r] of
// a lane belongs to the lane's row of the tile. `exchange`: this warp's (8, 32) floats.
template <int kColumns>
__device__ __forceinline__ void add_weighted(float (&sums)[kRowsPerWarp][kColumns],
                                             const float (&weights)[kRowsPerWarp],
                                             const float* streamed, float* exchange, int d) {
  const int lane = threadIdx.x % kWarpSize, pitch = pitch_of(d);
  __syncwarp();  // until the last weights have been read
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) exchange[r * kWarpSize + lane] = weights[r];
  __syncwarp();
  for (int row = 0; row < kTile; row += 4) {
    float4 w[kRowsPerWarp];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      w[r] = load_16<float4>(exchange + r * kWarpSize + row);
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int channel = lane + c * kWarpSize;
      if (channel >= d) continue;
      const float* const from = streamed + row * pitch + channel;
      const float v[4] = {from[0], from[pitch], from[2 * pitch], from[3 * pitch]};
#pragma unroll
      for (int r = 0; r < kRowsPerWarp; ++r) {
        sums[r][c] += w[r].x * v[0] + w[r].y * v[1] + w[r].z * v[2] + w[r].w * v[3];
      }
    }
  }
}

// Calls store(row, channel, sum) for the sums of this warp's rows below `count`.
template <int kColumns, typename Store>
__device__ __forceinline__ void for_sums(const float (&sums)[kRowsPerWarp][kColumns], int64_t count,
                                         int d, const Store& store) {
  const int lane = threadIdx.x % kWarpSize;
  const int first = static_cast<int>(threadIdx.x) / kWarpSize * kRowsPerWarp;
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    if (first + r >= count) continue;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int channel = lane + c * kWarpSize;
      if (channel < d) store(first + r, channel, sums[r][c]);
    }
  }
}

template <typename Op>
Problem problem_of(const Op& op, const float* queries, const float* keys) {
  return {queries,  keys,   places_of(op), op.q.rows / op.n_q,
          op.heads, op.n_q, op.n_k,        op.q.cols / op.heads};
}

// q and k in f32, rotated; the queries with their scale.
struct RotatedRows {
  float* queries;  // (images * n_q, heads * d)
  float* keys;     // (images * n_k, heads * d)
};
template <typename Op>
RotatedRows carve_rotated(const Op& op, Carver& carver) {
  const int64_t images = op.q.rows / op.n_q;
  return {carver.take<float>(images * op.n_q * op.q.cols),
          carver.take<float>(images * op.n_k * op.q.cols)};
}

inline size_t f32_shared_bytes(int64_t tiles, int64_t d) {
  return sizeof(float) *
         static_cast<size_t>(tiles * kTile * pitch_of(d) + kWarps * kRowsPerWarp * kWarpSize);
}

// Registers hold whole rows of sums: 32 channels a column.
template <typename Op, typename Run>
void with_columns(const Op& op, const Run& run) {
  const int64_t d = op.q.cols / op.heads;
  if (d <= 32) return run(std::integral_constant<int, 1>());
  if (d <= 64) return run(std::integral_constant<int, 2>());
  if (d <= 128) return run(std::integral_constant<int, 4>());
  static_assert(kMostCudaHeadDim == 8 * kWarpSize, "checked at the front door");
  return run(std::integral_constant<int, 8>());
}

}  // namespace capi
