// The forward pass of attention in f32 arithmetic.
#include "ops/attention/attention_f32_cuda.h"

namespace capi {

namespace {

// Softmax by running maximum and sum, so that a row of scores never leaves the registers.
template <int kColumns, typename T>
__global__ void forward_kernel(Problem p,
                               const T* v,  // (contexts * n_k, heads * d)
                               T* out,      // (images * n_q, heads * d)
                               float* lse,  // (images * heads, n_q) or null
                               int64_t v_stride, int64_t out_stride) {
  const int d = static_cast<int>(p.d), tile_floats = kTile * pitch_of(d);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  float* const queries = shared_memory<float>();
  float* const keys = queries + tile_floats;
  float* const values = keys + tile_floats;
  float* const exchange = values + tile_floats + warp * kRowsPerWarp * kWarpSize;

  const Part part = part_of(p, p.n_q);
  const int64_t count = min(int64_t{kTile}, p.n_q - part.first);
  const int64_t row = part.image * p.n_q + part.first;
  out += row * out_stride + part.head * d;
  if (lse != nullptr) lse += (part.image * p.heads + part.head) * p.n_q + part.first;
  const Place place = p.places.at(part.image);
  float sums[kRowsPerWarp][kColumns] = {};
  if (!place.valid()) {
    const float nan = __int_as_float(0x7fc00000);
    for_sums(sums, count, d,
             [&](int r, int c, float) { out[r * out_stride + c] = from_float<T>(nan); });
    if (lse != nullptr && threadIdx.x < count) lse[threadIdx.x] = nan;
    return;
  }

  load_tile(queries, p.queries + row * p.width() + part.head * d, p.width(), count, d);
  float most[kRowsPerWarp], total[kRowsPerWarp];
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    most[r] = __int_as_float(0xff800000);
    total[r] = 0.0f;
  }
  for (int64_t first = 0; first < p.n_k; first += kTile) {
    const int64_t left = p.n_k - first;
    __syncthreads();  // until the last tile has been used
    load_tile(keys, p.keys + (part.image * p.n_k + first) * p.width() + part.head * d, p.width(),
              left, d);
    load_tile(values, v + (place.context * p.n_k + first) * v_stride + part.head * d, v_stride,
              left, d);
    __syncthreads();
    float weights[kRowsPerWarp];
    dots(weights, queries, keys, d);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const float score = lane < left ? weights[r] : __int_as_float(0xff800000);
      const float highest = warp_max(score);
      const float now = highest > most[r] || highest != highest ? highest : most[r];
      const float shrink = exp2f(most[r] - now);
      weights[r] = exp2f(score - now);
      total[r] = total[r] * shrink + warp_sum(weights[r]);
      most[r] = now;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) sums[r][c] *= shrink;
    }
    add_weighted(sums, weights, values, exchange, d);
  }

#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const float inverse = 1.0f / total[r];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) sums[r][c] *= inverse;
    const int mine = warp * kRowsPerWarp + r;
    if (lse != nullptr && lane == 0 && mine < count) lse[mine] = most[r] * kLn2 + logf(total[r]);
  }
  for_sums(sums, count, d,
           [&](int r, int c, float sum) { out[r * out_stride + c] = from_float<T>(sum); });
}

template <int kColumns, typename T>
void forward(const AttentionForward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q, d = op.q.cols / op.heads;
  const auto [queries, keys] =
      carve(queue, [&](Carver& carver) { return carve_rotated(op, carver); });
  rotate_rows(query_rows(op), op.q, queries, score_scale(op) * kLog2E, queue);
  rotate_rows(key_rows(op), op.k, keys, 1.0f, queue);
  launch(forward_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_q, kTile), kThreads,
         f32_shared_bytes(3, d), queue.handle(), problem_of(op, queries, keys), op.v.as<T>(),
         op.out.as<T>(), op.lse.as<float>(), op.v.stride, op.out.stride);
}

}  // namespace

void attention_forward_f32(const AttentionForward& op, DeviceQueue& queue) {
  with_columns(op, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    op.q.dtype == Dtype::kF32 ? forward<kColumns, float>(op, queue)
                              : forward<kColumns, bf16>(op, queue);
  });
}

}  // namespace capi
