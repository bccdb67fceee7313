// Attention in bf16 on tensor cores, for heads of 32 and 64 channels. Rows lie in shared memory as
// they do in a matrix, in pieces of 16 bytes (8 channels) whose order within a row is xor-swizzled:
// the 8 rows that one ldmatrix reads at one piece, and the 8 rows that one store of a fragment
// writes, then fall on different banks, without padding.
#include <algorithm>

#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "ops/attention/attention_cuda.h"

namespace capi {

namespace {

constexpr int kPiece = 8;  // bf16 in 16 bytes
constexpr int kFragment = 16;

// Where piece `piece` of row `row` lies in rows of kPieces pieces, in elements.
template <int kPieces>
__device__ __forceinline__ int swizzled(int row, int piece) {
  static_assert(kPieces == 4 || kPieces == 8, "two rows, or one, span the banks");
  const int turned = kPieces == 8 ? piece ^ (row & 7) : piece ^ (row >> 1 & 3);
  return (row * kPieces + turned) * kPiece;
}

// The first piece of pair `pair` of pieces that rope turns together, `distance` (a power of two)
// apart.
__device__ __forceinline__ int first_piece(int pair, int distance) {
  return pair + (pair & ~(distance - 1));
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
__device__ __forceinline__ void pack(uint32_t (&a)[4], const float (&left)[4],
                                     const float (&right)[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

__device__ __forceinline__ int padded(int rows) {
  return (rows + kFragment - 1) / kFragment * kFragment;
}

// Threads that fill a tile together: a warp, or a block.
struct Team {
  int rank, size;
};
__device__ Team block_team() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)};
}
__device__ Team warp_team() { return {static_cast<int>(threadIdx.x % kWarpSize), kWarpSize}; }

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

// What both directions share. Rows of the tables are in the order of the images of q.
struct Operands {
  const bf16* q;         // (images * n_q, heads * kD)
  const bf16* k;         // (contexts * n_k, heads * kD)
  const bf16* v;         // (contexts * n_k, heads * kD)
  const float* q_table;  // (images * n_q, 2, kD): cosines, sines; null without rope
  const float* k_table;  // (images * n_k, 2, kD)
  int64_t q_stride, k_stride, v_stride;
  int heads, n_q, n_k;  // 32 bits: every register counts
  Places places;
  bool rotated_keys;  // k holds them, in the order of the images of q
  int distance;       // of pieces that rope turns together
  float scale;        // of scores: log2(e) / sqrt(kD)
};

__device__ __forceinline__ const float* table_row(const float* table, int64_t row, int kD) {
  return table != nullptr ? table + row * 2 * kD : nullptr;
}

// ---- Forward ----

// Keys of a softmax step: its 16 x 64 scores are 32 registers a lane. The running maximum is taken
// once for so many keys.
constexpr int kStepKeys = 64;
// Where K and V do not fit, tiles of so many keys: 32 KB, so that blocks overlap each other's
// loads.
constexpr int kStreamedKeys = 128;
constexpr int kForwardWarps = 8;
// Even a single tile of queries has four warps to load K and V with.
constexpr int kFewestWarps = 4;
// Blocks for each multiprocessor: with fewer images and heads, the queries of each are divided over
// several blocks, which all load its keys.
constexpr int64_t kEnoughBlocks = 2;
constexpr size_t kMostSharedBytes = 163 * 1024;

// Of the queries of one image and head, `groups` blocks take `rounds` tiles of 16 for each of
// `warps` warps.
struct ForwardShape {
  int groups, rounds, warps, tile_keys, buffers;
};

// One block an image and head, or a group of its queries. K, rotated, and V lie whole in shared
// memory (256 bytes a key at 64 channels: 28 KB at 106 keys, 68 KB at 272), or pass through it in
// tiles; a warp owns 16 queries, their running maximum, sum and output in registers. HBM carries q,
// k, v and out once. At 106 tokens 7 warps own 112 rows, at 272 6 warps 288 in 3 rounds; the
// predictor's 8 queries take one warp's 16, the other warps help to load.
template <int kD>
__global__ void __launch_bounds__(kForwardWarps* kWarpSize, 2)
    forward_kernel(Operands p, ForwardShape shape,
                   bf16* out,   // (images * n_q, heads * kD)
                   float* lse,  // (images * heads, n_q) or null
                   int64_t out_stride) {
  constexpr int kPieces = kD / kPiece, kSteps = kD / kFragment;
  const int tile_size = shape.tile_keys * kD;
  bf16* const all_keys = shared_memory<bf16>();                   // (buffers, tile_keys, kD)
  bf16* const all_values = all_keys + shape.buffers * tile_size;  // (buffers, tile_keys, kD)
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int group_row = lane / 4, pair_column = lane % 4 * 2;  // of this lane in an accumulator
  // This warp's rows: queries on the way to registers, then the output on its way to memory.
  bf16* const mine = all_values + shape.buffers * tile_size + warp * kFragment * kD;

  const int group = blockIdx.x % shape.groups, pair = blockIdx.x / shape.groups;
  const int image = pair / p.heads, column = pair % p.heads * kD;
  const int first_tile = group * shape.rounds * shape.warps;
  const Place place = p.places.at(image);
  if (!place.valid()) {
    const float nan = __int_as_float(0x7fc00000);
    const int end = min(p.n_q, (first_tile + shape.rounds * shape.warps) * kFragment);
    for (int i = first_tile * kFragment + warp; i < end; i += blockDim.x / kWarpSize) {
      for (int c = lane; c < kD; c += kWarpSize) {
        out[(int64_t{image} * p.n_q + i) * out_stride + column + c] = from_float<bf16>(nan);
      }
      if (lse != nullptr && lane == 0) lse[int64_t{pair} * p.n_q + i] = nan;
    }
    return;
  }

  const bf16* const k_rows =
      p.k + (p.rotated_keys ? image : place.context) * p.n_k * p.k_stride + column;
  const bf16* const v_rows = p.v + place.context * p.n_k * p.v_stride + column;
  if (p.k_table != nullptr) {  // then all keys are one tile
    stage_rotated<kD>(block_team(), all_keys, k_rows, p.k_stride,
                      p.k_table + int64_t{image} * p.n_k * 2 * kD, p.distance, p.n_k);
  } else {
    copy_rows<kD>(block_team(), all_keys, k_rows, p.k_stride, min(shape.tile_keys, p.n_k));
  }
  copy_rows<kD>(block_team(), all_values, v_rows, p.v_stride, min(shape.tile_keys, p.n_k));
  cp_async_commit();

  for (int round = 0; round < shape.rounds; ++round) {
    const int first = (first_tile + round * shape.warps + warp) * kFragment;
    const bool active = warp < shape.warps && first < p.n_q;
    const int64_t row = int64_t{image} * p.n_q + first;
    const int count = min(kFragment, p.n_q - first);

    if (active) {
      stage_rotated<kD>(warp_team(), mine, p.q + row * p.q_stride + column, p.q_stride,
                        table_row(p.q_table, row, kD), p.distance, count);
      __syncwarp();
    }
    float sums[kPieces][4] = {};
    float most[2] = {__int_as_float(0xff800000), __int_as_float(0xff800000)};
    float total[2] = {};  // this lane's columns only, until the end

    int buffer = 0;
    for (int tile = 0; tile < p.n_k; tile += shape.tile_keys, buffer ^= 1) {
      const int tile_keys = min(shape.tile_keys, p.n_k - tile);
      const int left = p.n_k - tile - tile_keys;
      if (left > 0) {
        const int64_t next = tile + shape.tile_keys;
        const int next_keys = min(shape.tile_keys, left), to = (buffer ^ 1) * tile_size;
        copy_rows<kD>(block_team(), all_keys + to,
                      p.k + (int64_t{image} * p.n_k + next) * p.k_stride + column, p.k_stride,
                      next_keys);
        copy_rows<kD>(block_team(), all_values + to,
                      p.v + (place.context * p.n_k + next) * p.v_stride + column, p.v_stride,
                      next_keys);
        cp_async_commit();
        cp_async_wait<1>();  // for this tile, not the next
      } else {
        cp_async_wait<0>();
      }
      if (round == 0) __syncthreads();  // shows this tile to all; more rounds find it there
      const bf16* const keys = all_keys + buffer * tile_size;
      const bf16* const values = all_values + buffer * tile_size;
#pragma unroll 1
      for (int step = 0; active && step < tile_keys; step += kStepKeys) {
        float scores[kStepKeys / 8][4] = {};
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
          uint32_t queries[4];
          ldmatrix_x4(queries, by_rows<kPieces>(mine, 0, 2 * s));
#pragma unroll
          for (int t = 0; t < kStepKeys / kFragment; ++t) {
            if (step + t * kFragment >= tile_keys) continue;
            uint32_t b[4];
            ldmatrix_x4(b, by_pieces<kPieces>(keys, step + t * kFragment, 2 * s));
            mma_pair(scores[2 * t], scores[2 * t + 1], queries, b);
          }
        }
        if (step + kStepKeys > tile_keys) {
#pragma unroll
          for (int t = 0; t < kStepKeys / 8; ++t) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              if (step + t * 8 + pair_column + e % 2 >= tile_keys) {
                scores[t][e] = __int_as_float(0xff800000);
              }
            }
          }
        }
        // fmaxf leaves NaN out, but its exponential below is NaN too.
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float highest = most[half];
#pragma unroll
          for (int t = 0; t < kStepKeys / 8; ++t) {
            highest = fmaxf(highest, fmaxf(scores[t][2 * half], scores[t][2 * half + 1]));
          }
          highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
          highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
          const float shrink = exp2_approx((most[half] - highest) * p.scale);
          const float shift = highest * p.scale;
          most[half] = highest;
          total[half] *= shrink;
#pragma unroll
          for (int c = 0; c < kPieces; ++c) {
            sums[c][2 * half] *= shrink;
            sums[c][2 * half + 1] *= shrink;
          }
#pragma unroll
          for (int t = 0; t < kStepKeys / 8; ++t) {
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; ++e) {
              scores[t][e] = exp2_approx(scores[t][e] * p.scale - shift);
              total[half] += scores[t][e];
            }
          }
        }
#pragma unroll
        for (int t = 0; t < kStepKeys / kFragment; ++t) {
          if (step + t * kFragment >= tile_keys) continue;
          uint32_t weights[4];
          pack(weights, scores[2 * t], scores[2 * t + 1]);
#pragma unroll
          for (int c = 0; c < kPieces; c += 2) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, by_rows<kPieces>(values, step + t * kFragment, c));
            mma_pair(sums[c], sums[c + 1], weights, b);
          }
        }
      }
      if (left > 0) __syncthreads();  // until all have used the buffer that is filled next
    }

    if (!active) continue;
    __syncwarp();  // until the queries have been read
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 1);
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 2);
      const float inverse = 1.0f / total[half];
      const int local = group_row + 8 * half;
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        *reinterpret_cast<uint32_t*>(mine + swizzled<kPieces>(local, c) + pair_column) =
            pack_bf16(sums[c][2 * half] * inverse, sums[c][2 * half + 1] * inverse);
      }
      if (lse != nullptr && lane % 4 == 0 && local < count) {
        lse[int64_t{pair} * p.n_q + first + local] =
            most[half] * p.scale * kLn2 + logf(total[half]);
      }
    }
    __syncwarp();
    bf16* const to = out + row * out_stride + column;
    for (int i = lane; i < count * kPieces; i += kWarpSize) {
      const int local = i / kPieces, piece = i % kPieces;
      store_16(to + local * out_stride + piece * kPiece,
               load_16<uint4>(mine + swizzled<kPieces>(local, piece)));
    }
    __syncwarp();  // until the next queries are written
  }
}

// ---- Backward ----

constexpr int kBackwardWarps = 8;
constexpr int kBackwardThreads = kBackwardWarps * kWarpSize;
constexpr int kGroupKeys = kBackwardWarps * kFragment;  // a warp owns 16 keys
constexpr int kTileQueries = 64;                        // their columns in dS fill the banks once

struct Gradients {
  const bf16* out;       // (images * n_q, heads * kD)
  const bf16* grad_out;  // (images * n_q, heads * kD)
  const float* lse;      // (images * heads, n_q)
  bf16* grad_q;          // (images * n_q, heads * kD); may be q, and so on
  bf16* grad_k;          // (contexts * n_k, heads * kD)
  bf16* grad_v;          // (contexts * n_k, heads * kD)
  // Sums of gradients of rotated rows, without the scales. queries: kept between groups of keys;
  // null where one group has them all. With keys both are the result, else null.
  float* query_sums;  // (images * n_q, heads * kD)
  float* key_sums;    // (images * n_k, heads * kD)
  int64_t out_stride, grad_out_stride, grad_q_stride, grad_k_stride, grad_v_stride;
};

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

// One block an image and head: 5 products for each pair of a query and a key, P recomputed from the
// log-sum-exp. Keys in groups of 128, of which each warp owns 16 with their dK and dV in registers;
// queries pass by in tiles of 64. First the warps take all queries for their own keys and leave dS
// in shared memory; then each takes 16 queries and half of the channels for the group's keys, in
// their order, and adds dQ: no sum depends on timing. More than one group adds up in scratch.
// 64 channels need 180 registers: one block a multiprocessor, since two would have to spill.
// Rows of q, k and v are read before this block writes their gradients, which may overwrite them.
template <int kD>
__global__ void __launch_bounds__(kBackwardThreads, kD == 64 ? 1 : 2)
    backward_kernel(Operands p, Gradients g, int group_rows) {
  constexpr int kPieces = kD / kPiece, kSteps = kD / kFragment;
  constexpr int kQueryPieces = kTileQueries / kPiece;
  bf16* const keys = shared_memory<bf16>();                  // (group_rows, kD)
  bf16* const values = keys + group_rows * kD;               // (group_rows, kD)
  bf16* const slopes = values + group_rows * kD;             // dS: (group_rows, kTileQueries)
  bf16* const queries = slopes + group_rows * kTileQueries;  // (kTileQueries, kD)
  bf16* const grads = queries + kTileQueries * kD;           // (kTileQueries, kD)
  float* const log_sums = reinterpret_cast<float*>(grads + kTileQueries * kD);
  float* const projections = log_sums + kTileQueries;  // out . grad_out
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int group_row = lane / 4, pair_column = lane % 4 * 2;

  const int pair = blockIdx.x, image = pair / p.heads, column = pair % p.heads * kD;
  const Place place = p.places.at(image);
  if (!place.valid()) {
    const bf16 nan = from_float<bf16>(__int_as_float(0x7fc00000)), zero = from_float<bf16>(0.0f);
    for (int64_t i = warp; i < p.n_q; i += kBackwardWarps) {
      const int64_t row = int64_t{image} * p.n_q + i;
      for (int c = lane; c < kD; c += kWarpSize) g.grad_q[row * g.grad_q_stride + column + c] = nan;
    }
    if (p.places.contexts != nullptr) return;  // clear_unused_contexts'
    for (int64_t i = warp; i < p.n_k; i += kBackwardWarps) {
      const int64_t row = int64_t{image} * p.n_k + i;
      for (int c = lane; c < kD; c += kWarpSize) {
        g.grad_k[row * g.grad_k_stride + column + c] = zero;
        g.grad_v[row * g.grad_v_stride + column + c] = zero;
      }
    }
    return;
  }

  for (int first_key = 0; first_key < p.n_k; first_key += kGroupKeys) {
    const int key_count = min(kGroupKeys, p.n_k - first_key);
    const int64_t key_row = place.context * p.n_k + first_key;
    __syncthreads();  // until the last group's keys and dS have been used
    copy_rows<kD>(block_team(), values, p.v + key_row * p.v_stride + column, p.v_stride, key_count);
    cp_async_commit();
    stage_rotated<kD>(block_team(), keys, p.k + key_row * p.k_stride + column, p.k_stride,
                      table_row(p.k_table, int64_t{image} * p.n_k + first_key, kD), p.distance,
                      key_count);
    cp_async_wait<0>();                // the first tile's barrier shows the keys and values to all
    const int own = warp * kFragment;  // this warp's first key
    const bool owner = own < key_count;
    float grad_keys[kPieces][4] = {}, grad_values[kPieces][4] = {};

    for (int first = 0; first < p.n_q; first += kTileQueries) {
      const int count = min(kTileQueries, p.n_q - first);
      const int64_t row = int64_t{image} * p.n_q + first;
      stage_rotated<kD>(block_team(), queries, p.q + row * p.q_stride + column, p.q_stride,
                        table_row(p.q_table, row, kD), p.distance, count);
      // A row's pieces lie in neighbouring lanes, which add up out . grad_out.
#pragma unroll 1
      for (int item = threadIdx.x; item < padded(count) * kPieces; item += kBackwardThreads) {
        const int local = item / kPieces, piece = item % kPieces;
        uint4 gradient = make_uint4(0, 0, 0, 0);
        float projection = 0.0f;
        if (local < count) {
          const bf16* const from = g.grad_out + (row + local) * g.grad_out_stride + column;
          float a[kPiece], b[kPiece];
          gradient = load_16<uint4>(from + piece * kPiece);
          load_floats(a, from + piece * kPiece);
          load_floats(b, g.out + (row + local) * g.out_stride + column + piece * kPiece);
#pragma unroll
          for (int c = 0; c < kPiece; ++c) projection += a[c] * b[c];
        }
        store_16(grads + swizzled<kPieces>(local, piece), gradient);
#pragma unroll
        for (int offset = kPieces / 2; offset > 0; offset /= 2) {
          projection += __shfl_xor_sync(kAllLanes, projection, offset);
        }
        if (piece == 0) {
          // Infinite: the weights of queries beyond the last are zero.
          log_sums[local] = local < count ? g.lse[int64_t{pair} * p.n_q + first + local] * kLog2E
                                          : __int_as_float(0x7f800000);
          projections[local] = projection;
        }
      }
      __syncthreads();

#pragma unroll 1
      for (int tile = 0; owner && tile < count; tile += kFragment) {
        float weights[2][4] = {}, grad_weights[2][4] = {};  // keys by queries
#pragma unroll
        for (int s = 0; s < kSteps; ++s) {
          uint32_t a[4], b[4];
          ldmatrix_x4(a, by_rows<kPieces>(keys, own, 2 * s));
          ldmatrix_x4(b, by_pieces<kPieces>(queries, tile, 2 * s));
          mma_pair(weights[0], weights[1], a, b);
          ldmatrix_x4(a, by_rows<kPieces>(values, own, 2 * s));
          ldmatrix_x4(b, by_pieces<kPieces>(grads, tile, 2 * s));
          mma_pair(grad_weights[0], grad_weights[1], a, b);
        }
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const int query = tile + 8 * side + pair_column;
          const float2 log_sum = *reinterpret_cast<const float2*>(log_sums + query);
          const float2 projection = *reinterpret_cast<const float2*>(projections + query);
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float shift = e % 2 == 0 ? log_sum.x : log_sum.y;
            const float mean = e % 2 == 0 ? projection.x : projection.y;
            // A key beyond the last has no weight: its score of zero may lie far above the rest.
            const bool valid = own + group_row + e / 2 * 8 < key_count;
            weights[side][e] = valid ? exp2_approx(weights[side][e] * p.scale - shift) : 0.0f;
            grad_weights[side][e] =
                valid ? weights[side][e] * (grad_weights[side][e] - mean) : 0.0f;
          }
        }
        uint32_t a[4];
        pack(a, weights[0], weights[1]);
#pragma unroll
        for (int c = 0; c < kPieces; c += 2) {
          uint32_t b[4];
          ldmatrix_x4_trans(b, by_rows<kPieces>(grads, tile, c));
          mma_pair(grad_values[c], grad_values[c + 1], a, b);
        }
        pack(a, grad_weights[0], grad_weights[1]);
#pragma unroll
        for (int c = 0; c < kPieces; c += 2) {
          uint32_t b[4];
          ldmatrix_x4_trans(b, by_rows<kPieces>(queries, tile, c));
          mma_pair(grad_keys[c], grad_keys[c + 1], a, b);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // registers of a: rows 0 and 8, then the next 8 columns
          const int key = own + group_row + i % 2 * 8, piece = tile / kPiece + i / 2;
          *reinterpret_cast<uint32_t*>(slopes + swizzled<kQueryPieces>(key, piece) + pair_column) =
              a[i];
        }
      }
      __syncthreads();

      // This warp's 16 queries and half of the pairs of pieces.
      const int tile = warp / 2 * kFragment;
      if (tile >= count) continue;
      constexpr int kPairs = kPieces / 4;
      float grad_queries[kPairs][2][4] = {};
#pragma unroll 1
      for (int key = 0; key < key_count; key += kFragment) {
        uint32_t a[4];
        ldmatrix_x4_trans(a, by_pieces<kQueryPieces>(slopes, key, tile / kPiece));
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
          const int piece = first_piece(warp % 2 * kPairs + i, p.distance);
          uint32_t b[4];
          ldmatrix_x4_trans(
              b, keys + swizzled<kPieces>(key + lane % 16, lane < 16 ? piece : piece + p.distance));
          mma_pair(grad_queries[i][0], grad_queries[i][1], a, b);
        }
      }
      const bool last = first_key + kGroupKeys >= p.n_k;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int local = tile + group_row + 8 * half;
        if (local >= count) continue;
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
          const int channel = first_piece(warp % 2 * kPairs + i, p.distance) * kPiece + pair_column;
          const int partner = p.distance * kPiece;
          float* const here = grad_queries[i][0] + 2 * half;
          float* const there = grad_queries[i][1] + 2 * half;
          if (g.query_sums != nullptr) {
            float* const sum = g.query_sums + (row + local) * p.heads * kD + column + channel;
            if (first_key > 0) {
              here[0] += sum[0], here[1] += sum[1];
              there[0] += sum[partner], there[1] += sum[partner + 1];
            }
            if (!last || g.key_sums != nullptr) {
              sum[0] = here[0], sum[1] = here[1];
              sum[partner] = there[0], sum[partner + 1] = there[1];
              continue;
            }
          }
          store_rotated_back<kD>(
              g.grad_q + (row + local) * g.grad_q_stride + column + channel,
              p.q_table != nullptr ? p.q_table + (row + local) * 2 * kD + channel : nullptr,
              partner, p.scale * kLn2, here[0], here[1], there[0], there[1]);
        }
      }
    }

    if (!owner) continue;
    const int rows = key_count - own;
    bf16* const grad_v = g.grad_v + (key_row + own) * g.grad_v_stride + column;
    const int64_t image_row = int64_t{image} * p.n_k + first_key + own;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int local = group_row + 8 * half;
      if (local >= rows) continue;
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        const int channel = c * kPiece + pair_column;
        *reinterpret_cast<uint32_t*>(grad_v + local * g.grad_v_stride + channel) =
            pack_bf16(grad_values[c][2 * half], grad_values[c][2 * half + 1]);
        if (g.key_sums != nullptr) {
          float* const sum = g.key_sums + (image_row + local) * p.heads * kD + column + channel;
          sum[0] = grad_keys[c][2 * half];
          sum[1] = grad_keys[c][2 * half + 1];
        }
      }
    }
    if (g.key_sums != nullptr) continue;
    bf16* const grad_k = g.grad_k + (key_row + own) * g.grad_k_stride + column;
    const float* const table = table_row(p.k_table, image_row, kD);
    if (p.distance == kPieces / 2) {
      store_grad_keys<kD, kPieces / 2>(grad_keys, grad_k, g.grad_k_stride, table, p.scale * kLn2,
                                       rows);
    } else {
      store_grad_keys<kD, kPieces / 4>(grad_keys, grad_k, g.grad_k_stride, table, p.scale * kLn2,
                                       rows);
    }
  }
}

// ---- The host's side ----

// The tables of angles, one for both sides where they have the same coordinates.
struct Tables {
  float* q = nullptr;
  float* k = nullptr;
};
template <typename Op>
Tables carve_tables(const Op& op, Carver& carver) {
  if (op.rope == Rope::kNone) return {};
  const int64_t images = op.q.rows / op.n_q, floats = 2 * (op.q.cols / op.heads);
  float* const q = carver.floats(images * op.n_q * floats);
  const bool shared = op.q_coordinates.data == op.k_coordinates.data && op.n_q == op.n_k;
  return {q, shared ? q : carver.floats(images * op.n_k * floats)};
}
template <typename Op>
void fill_tables(const Op& op, const Tables& tables, DeviceQueue& queue) {
  if (op.rope == Rope::kNone) return;
  fill_angles(query_rows(op), tables.q, queue);
  if (tables.k != tables.q) fill_angles(key_rows(op), tables.k, queue);
}

template <typename Op>
Operands operands_of(const Op& op, const Tables& tables) {
  const int64_t d = op.q.cols / op.heads;
  return {op.q.template as<bf16>(),
          op.k.template as<bf16>(),
          op.v.template as<bf16>(),
          tables.q,
          tables.k,
          op.q.stride,
          op.k.stride,
          op.v.stride,
          static_cast<int>(op.heads),
          static_cast<int>(op.n_q),
          static_cast<int>(op.n_k),
          places_of(op),
          false,
          static_cast<int>(rope_distance(op.rope, d) / kPiece),
          score_scale(op) * kLog2E};
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What a block of the forward pass needs for so many keys in shared memory.
size_t forward_bytes(int64_t keys, int64_t warps, int64_t d) {
  return static_cast<size_t>((2 * keys + warps * kFragment) * d) * sizeof(bf16);
}

template <int kD>
void forward(const AttentionForward& op, DeviceQueue& queue) {
  const int64_t pairs = op.q.rows / op.n_q * op.heads;
  const int64_t tiles = divide_up(op.n_q, kFragment);
  const int64_t padded_keys = divide_up(op.n_k, kFragment) * kFragment;
  const bool whole = forward_bytes(padded_keys, kForwardWarps, kD) <= kMostSharedBytes;
  // Warps share the tiles out evenly; where keys stream by, a warp's queries stay in its registers.
  const int64_t most_rounds = whole ? divide_up(tiles, kForwardWarps) : 1;
  int device = 0, processors = 0;
  CAPI_CUDA_CHECK(cudaGetDevice(&device));
  CAPI_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  const int64_t wanted_groups = std::min(most_rounds, divide_up(kEnoughBlocks * processors, pairs));
  const int64_t rounds = divide_up(most_rounds, wanted_groups);
  const int64_t warps =
      whole ? divide_up(tiles, rounds * wanted_groups) : std::min<int64_t>(tiles, kForwardWarps);
  const int64_t groups = divide_up(tiles, rounds * warps);
  const int64_t tile_keys = whole ? padded_keys : kStreamedKeys, buffers = whole ? 1 : 2;

  // Streamed keys are rotated once, not by each block that they pass, and lie in the images' order.
  const bool rotate_first = !whole;
  Tables tables;
  float* rotated = nullptr;
  carve_scratch(queue, [&](Carver& carver) {
    tables = carve_tables(op, carver);
    if (rotate_first) rotated = carver.floats(op.q.rows / op.n_q * op.n_k * op.k.cols / 2);
  });
  fill_tables(op, tables, queue);
  Operands operands = operands_of(op, tables);
  if (rotate_first) {
    operands.k = reinterpret_cast<bf16*>(rotated);
    operands.k_stride = op.k.cols;
    operands.k_table = nullptr;
    operands.rotated_keys = true;
    rotate_rows(key_rows(op), op.k, reinterpret_cast<bf16*>(rotated), 1.0f, queue);
  }
  launch(forward_kernel<kD>, pairs * groups,
         kWarpSize * static_cast<unsigned>(std::max<int64_t>(warps, kFewestWarps)),
         forward_bytes(buffers * tile_keys, warps, kD), queue.handle(), operands,
         ForwardShape{static_cast<int>(groups), static_cast<int>(rounds), static_cast<int>(warps),
                      static_cast<int>(tile_keys), static_cast<int>(buffers)},
         op.out.as<bf16>(), op.lse.as<float>(), op.out.stride);
}

template <int kD>
void backward(const AttentionBackward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q;
  const bool rotated = op.grad_frequencies && op.rope != Rope::kNone;
  Tables tables;
  RotatedGradients sums{nullptr, nullptr, nullptr, score_scale(op)};
  carve_scratch(queue, [&](Carver& carver) {
    tables = carve_tables(op, carver);
    if (rotated || op.n_k > kGroupKeys) sums.queries = carver.floats(op.q.rows * op.q.cols);
    if (rotated) sums.keys = carver.floats(images * op.n_k * op.q.cols);
    sums.parts = carver.floats(frequency_floats(op));
  });
  fill_tables(op, tables, queue);
  const int64_t group_rows =
      std::min<int64_t>(kGroupKeys, divide_up(op.n_k, kFragment) * kFragment);
  const size_t shared_bytes =
      sizeof(bf16) *
          static_cast<size_t>(group_rows * (2 * kD + kTileQueries) + 2 * kTileQueries * kD) +
      sizeof(float) * 2 * kTileQueries;
  launch(
      backward_kernel<kD>, images * op.heads, kBackwardThreads, shared_bytes, queue.handle(),
      operands_of(op, tables),
      Gradients{op.out.as<bf16>(), op.grad_out.as<bf16>(), op.lse.as<float>(), op.grad_q.as<bf16>(),
                op.grad_k.as<bf16>(), op.grad_v.as<bf16>(), sums.queries, sums.keys, op.out.stride,
                op.grad_out.stride, op.grad_q.stride, op.grad_k.stride, op.grad_v.stride},
      group_rows);
  if (rotated) {
    rotate_back(op, sums, queue);
  } else if (op.grad_frequencies) {
    merge_frequency_parts(nullptr, 0, op.grad_frequencies, queue);  // zeros
  }
}

bool fits(int64_t d) { return d == 32 || d == 64; }

}  // namespace

bool runs_on_mma(const AttentionForward& op) {
  return op.q.dtype == Dtype::kBF16 && fits(op.q.cols / op.heads) &&
         aligned_rows({op.q, op.k, op.v, op.out}, kPiece);
}
bool runs_on_mma(const AttentionBackward& op) {
  return op.q.dtype == Dtype::kBF16 && fits(op.q.cols / op.heads) &&
         aligned_rows({op.q, op.k, op.v, op.out, op.grad_out, op.grad_q, op.grad_k, op.grad_v},
                      kPiece);
}

void attention_forward_mma(const AttentionForward& op, DeviceQueue& queue) {
  op.q.cols / op.heads == 64 ? forward<64>(op, queue) : forward<32>(op, queue);
}
void attention_backward_mma(const AttentionBackward& op, DeviceQueue& queue) {
  op.q.cols / op.heads == 64 ? backward<64>(op, queue) : backward<32>(op, queue);
}

}  // namespace capi
