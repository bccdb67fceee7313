// The backward pass of attention in bf16 on tensor cores, for heads of 32 and 64 channels.
#include <algorithm>

#include "core/cuda/launch.h"
#include "ops/attention/mma_gradients_cuda.h"
#include "ops/attention/mma_operands_cuda.h"
#include "ops/attention/mma_rotate_back_cuda.h"

namespace capi {

namespace {

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

// Out of range: NaN for the queries' gradients; zeros for the keys', unless there is a list of
// contexts, whose unused ones attention_backward_cuda clears.
template <int kD>
__device__ void fill_invalid(const MmaOperands& p, const Gradients& g, int image, int column) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int warps = blockDim.x / kWarpSize;
  const bf16 nan = from_float<bf16>(__int_as_float(0x7fc00000)), zero = from_float<bf16>(0.0f);
  for (int64_t i = warp; i < p.n_q; i += warps) {
    const int64_t row = int64_t{image} * p.n_q + i;
    for (int c = lane; c < kD; c += kWarpSize) g.grad_q[row * g.grad_q_stride + column + c] = nan;
  }
  if (p.places.contexts != nullptr) return;
  for (int64_t i = warp; i < p.n_k; i += warps) {
    const int64_t row = int64_t{image} * p.n_k + i;
    for (int c = lane; c < kD; c += kWarpSize) {
      g.grad_k[row * g.grad_k_stride + column + c] = zero;
      g.grad_v[row * g.grad_v_stride + column + c] = zero;
    }
  }
}

// Starts copying `count` keys and values from row `row` on: one copy of the loop for both, since
// the compiler already holds the sums' zeros and has no register for a second.
template <int kD>
__device__ __forceinline__ void copy_keys(BackwardTiles<kD>& tiles, const MmaOperands& p, int row,
                                          int column, int count) {
  const bf16* const k = p.k + row * p.k_stride + column;
  const bf16* const v = p.v + row * p.v_stride + column;
#pragma unroll 1
  for (int side = 0; side < 2; ++side) {
    copy_rows<kD>(block_team(), side == 0 ? tiles.keys : tiles.values, side == 0 ? k : v,
                  side == 0 ? p.k_stride : p.v_stride, p.distance, count);
  }
}

// Starts copying `count` queries from row `row` on, with their output and its gradient.
template <int kD>
__device__ __forceinline__ void copy_queries(BackwardTiles<kD>& tiles, const MmaOperands& p,
                                             const Gradients& g, int64_t row, int column,
                                             int count) {
  copy_rows<kD>(block_team(), tiles.queries, p.q + row * p.q_stride + column, p.q_stride,
                p.distance, count);
  copy_rows<kD>(block_team(), tiles.grads, g.grad_out + row * g.grad_out_stride + column,
                g.grad_out_stride, p.distance, count);
  copy_rows<kD>(block_team(), tiles.out, g.out + row * g.out_stride + column, g.out_stride,
                p.distance, count);
}

// What the softmax needs of each query: its log-sum-exp, and out . grad_out, of which neighbouring
// lanes have a pair of pieces each.
template <int kD>
__device__ __forceinline__ void project(BackwardTiles<kD>& tiles, const float* lse, int distance,
                                        int count) {
  constexpr int kPieces = kD / kPiece, kPairs = kPieces / 2;
#pragma unroll 1
  for (int item = threadIdx.x; item < padded(count) * kPairs; item += blockDim.x) {
    const int row = item / kPairs, i = first_piece(item % kPairs, distance);
    float projection = 0.0f;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int at = swizzled<kPieces>(row, i + side * distance);
      float a[kPiece], b[kPiece];
      load_floats(a, tiles.out + at);
      load_floats(b, tiles.grads + at);
#pragma unroll
      for (int c = 0; c < kPiece; ++c) projection += a[c] * b[c];
    }
#pragma unroll
    for (int offset = kPairs / 2; offset > 0; offset /= 2) {
      projection += __shfl_xor_sync(kAllLanes, projection, offset);
    }
    if (item % kPairs == 0) {
      // Infinite: the weights of queries beyond the last are zero.
      tiles.log_sums[row] = row < count ? lse[row] * kLog2E : __int_as_float(0x7f800000);
      tiles.projections[row] = projection;
    }
  }
}

// Writes a unit of dQ, or adds it to what the groups of keys before this one left in scratch.
template <int kD>
__device__ __forceinline__ void finish_queries(QueryGradients<kD>& sums, const MmaOperands& p,
                                               const Gradients& g, int64_t row, int column,
                                               int tile, int half, int count, bool first_group,
                                               bool last_group) {
  constexpr int kPairs = QueryGradients<kD>::kPairs;
  const int lane = threadIdx.x % kWarpSize, partner = p.distance * kPiece;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int local = tile + lane / 4 + 8 * side;
    if (local >= count) continue;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int channel = first_piece(half * kPairs + i, p.distance) * kPiece + lane % 4 * 2;
      float* const here = sums.pairs[i][0] + 2 * side;
      float* const there = sums.pairs[i][1] + 2 * side;
      if (g.query_sums != nullptr) {
        float* const sum = g.query_sums + (row + local) * p.heads * kD + column + channel;
        if (!first_group) {
          here[0] += sum[0], here[1] += sum[1];
          there[0] += sum[partner], there[1] += sum[partner + 1];
        }
        if (!last_group || g.key_sums != nullptr) {
          sum[0] = here[0], sum[1] = here[1];
          sum[partner] = there[0], sum[partner + 1] = there[1];
          continue;
        }
      }
      store_rotated_back(g.grad_q + (row + local) * g.grad_q_stride + column + channel,
                         p.q_table != nullptr ? p.q_table + (row + local) * kD + channel : nullptr,
                         partner, p.scale * kLn2, make_float2(here[0], here[1]),
                         make_float2(there[0], there[1]));
    }
  }
}

// Writes dK and dV of a warp's `count` keys: the context's rows from key_row, the image's from
// image_row on.
template <int kD>
__device__ __forceinline__ void finish_keys(const KeyGradients<kD>& sums, const MmaOperands& p,
                                            const Gradients& g, int64_t key_row, int64_t image_row,
                                            int column, int count) {
  constexpr int kPieces = kD / kPiece;
  const int lane = threadIdx.x % kWarpSize;
  bf16* const grad_v = g.grad_v + key_row * g.grad_v_stride + column;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int local = lane / 4 + 8 * half;
    if (local >= count) continue;
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
      const int channel = c * kPiece + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(grad_v + local * g.grad_v_stride + channel) =
          pack_bf16(sums.values[c][2 * half], sums.values[c][2 * half + 1]);
      if (g.key_sums != nullptr) {
        float* const sum = g.key_sums + (image_row + local) * p.heads * kD + column + channel;
        sum[0] = sums.keys[c][2 * half];
        sum[1] = sums.keys[c][2 * half + 1];
      }
    }
  }
  if (g.key_sums != nullptr) return;
  bf16* const grad_k = g.grad_k + key_row * g.grad_k_stride + column;
  const uint32_t* const table = table_row<kD>(p.k_table, image_row);
  p.distance == kPieces / 2 ? store_grad_keys<kD, kPieces / 2>(sums.keys, grad_k, g.grad_k_stride,
                                                               table, p.scale * kLn2, count)
                            : store_grad_keys<kD, kPieces / 4>(sums.keys, grad_k, g.grad_k_stride,
                                                               table, p.scale * kLn2, count);
}

// One block an image and head: 5 products for each pair of a query and a key, P recomputed from the
// log-sum-exp. Keys in groups of at most 128, of which each warp owns 16 with their dK and dV in
// registers; queries pass by in tiles of 64, the next copied while dQ is computed. First the warps
// take all queries for their own keys and leave dS in shared memory; then each takes 16 queries and
// half of the channels for the group's keys, in their order, and adds dQ: no sum depends on timing.
// More than one group adds up in scratch. 128 registers: two blocks a multiprocessor, so that one
// computes while the other loads; rows are 32 bits for that. Rows of q, k and v are read before
// this block writes their gradients, which may overwrite them.
template <int kD>
__global__ void __launch_bounds__(kMostGroupWarps* kWarpSize, 2)
    backward_kernel(MmaOperands p, Gradients g, int group_rows) {
  BackwardTiles<kD>& tiles = *shared_memory<BackwardTiles<kD>>();
  const int warp = threadIdx.x / kWarpSize, warps = blockDim.x / kWarpSize;
  const int pair = blockIdx.x, image = pair / p.heads, column = pair % p.heads * kD;
  const Place place = p.places.at(image);
  if (!place.valid()) return fill_invalid<kD>(p, g, image, column);

  for (int first_key = 0; first_key < p.n_k; first_key += group_rows) {
    const int key_count = min(group_rows, p.n_k - first_key);
    const int key_row = static_cast<int>(place.context) * p.n_k + first_key;
    const int image_row = image * p.n_k + first_key;
    const int own = warp * kFragment;  // this warp's first key
    const bool owner = own < key_count;
    __syncthreads();  // until the last group's keys and dS have been used
    copy_keys<kD>(tiles, p, key_row, column, key_count);
    copy_queries<kD>(tiles, p, g, image * p.n_q, column, min(kTileQueries, p.n_q));
    cp_async_commit();

    KeyGradients<kD> sums;
    for (int first = 0; first < p.n_q; first += kTileQueries) {
      const int count = min(kTileQueries, p.n_q - first), left = p.n_q - first - count;
      const int row = image * p.n_q + first;
      cp_async_wait<0>();
      if (first == 0) {
        turn_rows<kD>(block_team(), tiles.keys, table_row<kD>(p.k_table, image_row), p.distance,
                      key_count);
      }
      turn_rows<kD>(block_team(), tiles.queries, table_row<kD>(p.q_table, row), p.distance, count);
      project<kD>(tiles, g.lse + int64_t{pair} * p.n_q + first, p.distance, count);
      __syncthreads();  // shows the queries, and the group's keys and values, to all
#pragma unroll 1
      for (int tile = 0; owner && tile < count; tile += kFragment) {
        take_queries<kD>(sums, tiles, own, tile, key_count, p.scale);
      }
      __syncthreads();  // shows dS to all; the queries have been used
      if (left > 0) {   // the next come during the products below
        copy_queries<kD>(tiles, p, g, row + count, column, min(kTileQueries, left));
        cp_async_commit();
      }
#pragma unroll 1
      for (int unit = warp; unit * kFragment < 2 * padded(count); unit += warps) {
        const int tile = unit / 2 * kFragment, half = unit % 2;
        QueryGradients<kD> queries;
        take_keys<kD>(queries, tiles, tile, half, key_count, p.distance);
        finish_queries<kD>(queries, p, g, row, column, tile, half, count, first_key == 0,
                           first_key + group_rows >= p.n_k);
      }
    }
    if (owner) {
      finish_keys<kD>(sums, p, g, key_row + own, image_row + own, column, key_count - own);
    }
  }
}

template <int kD>
void backward(const AttentionBackward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q;
  const bool rotated = op.grad_frequencies && op.rope != Rope::kNone;
  // Groups of keys of one size, a multiple of 16: at 272 keys 3 groups of 96, not 128, 128 and 16.
  const int64_t tiles = divide_up(op.n_k, kFragment), groups = divide_up(tiles, kMostGroupWarps);
  const int64_t warps = divide_up(tiles, groups), group_rows = warps * kFragment;
  struct Scratch {
    AngleTables tables;
    RotatedGradients sums;
  };
  const Scratch scratch = carve(queue, [&](Carver& carver) {
    return Scratch{carve_tables(op, carver),
                   {rotated || groups > 1 ? carver.take<float>(op.q.rows * op.q.cols) : nullptr,
                    rotated ? carver.take<float>(images * op.n_k * op.q.cols) : nullptr,
                    carver.take<float>(frequency_floats(op)), score_scale(op)}};
  });
  fill_tables(op, scratch.tables, queue);
  launch(backward_kernel<kD>, images * op.heads,
         kWarpSize * static_cast<unsigned>(std::max<int64_t>(warps, kFewestWarps)),
         sizeof(BackwardTiles<kD>), queue.handle(), operands_of(op, scratch.tables),
         Gradients{op.out.as<bf16>(), op.grad_out.as<bf16>(), op.lse.as<float>(),
                   op.grad_q.as<bf16>(), op.grad_k.as<bf16>(), op.grad_v.as<bf16>(),
                   scratch.sums.queries, scratch.sums.keys, op.out.stride, op.grad_out.stride,
                   op.grad_q.stride, op.grad_k.stride, op.grad_v.stride},
         group_rows);
  if (rotated) {
    rotate_back(op, scratch.sums, queue);
  } else if (op.grad_frequencies) {
    merge_frequency_parts(nullptr, 0, op.grad_frequencies, queue);  // zeros
  }
}

}  // namespace

void attention_backward_mma(const AttentionBackward& op, DeviceQueue& queue) {
  op.q.cols / op.heads == 64 ? backward<64>(op, queue) : backward<32>(op, queue);
}

}  // namespace capi
