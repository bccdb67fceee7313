// The forward pass of attention in bf16 on tensor cores, for heads of 32 and 64 channels.
#include <algorithm>

#include "core/cuda/device_attribute.h"
#include "core/cuda/launch.h"
#include "ops/attention/mma_operands_cuda.h"
#include "ops/attention/mma_softmax_cuda.h"

namespace capi {

namespace {

// Where K and V do not fit, tiles of so many keys: 32 KB, so that blocks overlap each other's
// loads.
constexpr int kStreamedKeys = 128;
constexpr int kMostWarps = 8;
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
__global__ void __launch_bounds__(kMostWarps* kWarpSize, 2)
    forward_kernel(MmaOperands p, ForwardShape shape,
                   bf16* out,   // (images * n_q, heads * kD)
                   float* lse,  // (images * heads, n_q) or null
                   int64_t out_stride) {
  const int tile_size = shape.tile_keys * kD;
  bf16* const all_keys = shared_memory<bf16>();                   // (buffers, tile_keys, kD)
  bf16* const all_values = all_keys + shape.buffers * tile_size;  // (buffers, tile_keys, kD)
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
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

  const int64_t key_row = (p.rotated_keys ? image : place.context) * p.n_k;
  const int64_t value_row = place.context * p.n_k;
  const int tile_rows = min(shape.tile_keys, p.n_k);
  copy_rows<kD>(block_team(), all_keys, p.k + key_row * p.k_stride + column, p.k_stride, p.distance,
                tile_rows);
  copy_rows<kD>(block_team(), all_values, p.v + value_row * p.v_stride + column, p.v_stride,
                p.distance, tile_rows);

  for (int round = 0; round < shape.rounds; ++round) {
    const int first = (first_tile + round * shape.warps + warp) * kFragment;
    const bool active = warp < shape.warps && first < p.n_q;
    const int64_t row = int64_t{image} * p.n_q + first;
    const int count = min(kFragment, p.n_q - first);
    if (active) {
      copy_rows<kD>(warp_team(), mine, p.q + row * p.q_stride + column, p.q_stride, p.distance,
                    count);
    }
    cp_async_commit();
    cp_async_wait<0>();
    if (round == 0) {  // with a table all keys are one tile
      turn_rows<kD>(block_team(), all_keys, table_row<kD>(p.k_table, int64_t{image} * p.n_k),
                    p.distance, p.n_k);
    }
    if (active) {
      turn_rows<kD>(warp_team(), mine, table_row<kD>(p.q_table, row), p.distance, count);
      __syncwarp();
    }
    RunningSoftmax<kD> rows;
    int buffer = 0;
    for (int tile = 0; tile < p.n_k; tile += shape.tile_keys, buffer ^= 1) {
      const int tile_keys = min(shape.tile_keys, p.n_k - tile);
      const int left = p.n_k - tile - tile_keys;
      if (left > 0) {
        const int64_t next = tile + shape.tile_keys;
        const int next_keys = min(shape.tile_keys, left), to = (buffer ^ 1) * tile_size;
        copy_rows<kD>(block_team(), all_keys + to, p.k + (key_row + next) * p.k_stride + column,
                      p.k_stride, p.distance, next_keys);
        copy_rows<kD>(block_team(), all_values + to, p.v + (value_row + next) * p.v_stride + column,
                      p.v_stride, p.distance, next_keys);
        cp_async_commit();
        cp_async_wait<1>();  // for this tile, not the next
      } else {
        cp_async_wait<0>();
      }
      if (round == 0) __syncthreads();  // shows this tile to all; more rounds find it there
      if (active) {
        attend<kD>(rows, mine, all_keys + buffer * tile_size, all_values + buffer * tile_size,
                   tile_keys, p.scale);
      }
      if (left > 0) __syncthreads();  // until all have used the buffer that is filled next
    }
    if (!active) continue;
    __syncwarp();  // until the queries have been read
    finish<kD>(rows, mine, count, p.scale, out + row * out_stride + column, out_stride,
               lse != nullptr ? lse + int64_t{pair} * p.n_q + first : nullptr);
    __syncwarp();  // until the output has been read
  }
}

// Shared memory of a block with so many keys and warps.
size_t shared_bytes(int64_t keys, int64_t warps, int64_t d) {
  return static_cast<size_t>((2 * keys + warps * kFragment) * d) * sizeof(bf16);
}

template <int kD>
void forward(const AttentionForward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q, pairs = images * op.heads;
  const int64_t tiles = divide_up(op.n_q, kFragment);
  const int64_t padded_keys = divide_up(op.n_k, kFragment) * kFragment;
  const bool whole = shared_bytes(padded_keys, kMostWarps, kD) <= kMostSharedBytes;
  // Warps share the tiles out evenly; where keys stream by, a warp's queries stay in its registers.
  const int64_t most_rounds = whole ? divide_up(tiles, kMostWarps) : 1;
  const int processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t wanted_groups = std::min(most_rounds, divide_up(kEnoughBlocks * processors, pairs));
  const int64_t rounds = divide_up(most_rounds, wanted_groups);
  const int64_t warps =
      whole ? divide_up(tiles, rounds * wanted_groups) : std::min<int64_t>(tiles, kMostWarps);
  const int64_t groups = divide_up(tiles, rounds * warps);
  const int64_t tile_keys = whole ? padded_keys : kStreamedKeys, buffers = whole ? 1 : 2;

  // Streamed keys are rotated once, not by each block that they pass, and lie in the images' order.
  struct Scratch {
    AngleTables tables;
    bf16* rotated;
  };
  const Scratch scratch = carve(queue, [&](Carver& carver) {
    return Scratch{carve_tables(op, carver),
                   whole ? nullptr : carver.take<bf16>(images * op.n_k * op.k.cols)};
  });
  fill_tables(op, scratch.tables, queue);
  MmaOperands operands = operands_of(op, scratch.tables);
  if (!whole) {
    operands.k = scratch.rotated;
    operands.k_stride = op.k.cols;
    operands.k_table = nullptr;
    operands.rotated_keys = true;
    rotate_rows(key_rows(op), op.k, scratch.rotated, 1.0f, queue);
  }
  launch(forward_kernel<kD>, pairs * groups,
         kWarpSize * static_cast<unsigned>(std::max<int64_t>(warps, kFewestWarps)),
         shared_bytes(buffers * tile_keys, warps, kD), queue.handle(), operands,
         ForwardShape{static_cast<int>(groups), static_cast<int>(rounds), static_cast<int>(warps),
                      static_cast<int>(tile_keys), static_cast<int>(buffers)},
         op.out.as<bf16>(), op.lse.as<float>(), op.out.stride);
}

}  // namespace

void attention_forward_mma(const AttentionForward& op, DeviceQueue& queue) {
  op.q.cols / op.heads == 64 ? forward<64>(op, queue) : forward<32>(op, queue);
}

}  // namespace capi
