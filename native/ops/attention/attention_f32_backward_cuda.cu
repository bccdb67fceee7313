// The backward pass of attention in f32 arithmetic: one kernel whose blocks own queries, one whose
// blocks own keys.
#include "ops/attention/attention_f32_cuda.h"

namespace capi {

namespace {

// dQ, still rotated and without the scale: a block owns queries and streams keys. Runs before
// grad_v is written, which may be v.
template <int kColumns, typename T>
__global__ void grad_queries_kernel(Problem p,
                                    const T* v,         // (contexts * n_k, heads * d)
                                    const T* out,       // (images * n_q, heads * d)
                                    const T* grad_out,  // (images * n_q, heads * d)
                                    const float* lse,   // (images * heads, n_q)
                                    float* grad_q,      // (images * n_q, heads * d)
                                    float* delta,       // (images * heads, n_q): out . grad_out
                                    int64_t v_stride, int64_t out_stride, int64_t grad_out_stride) {
  const int d = static_cast<int>(p.d), tile_floats = kTile * pitch_of(d);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  float* const queries = shared_memory<float>();
  float* const grads = queries + tile_floats;
  float* const keys = grads + tile_floats;
  float* const values = keys + tile_floats;
  float* const exchange = values + tile_floats + warp * kRowsPerWarp * kWarpSize;

  const Part part = part_of(p, p.n_q);
  const Place place = p.places.at(part.image);
  if (!place.valid()) return;
  const int64_t count = min(int64_t{kTile}, p.n_q - part.first);
  const int64_t row = part.image * p.n_q + part.first;
  const int64_t statistics = (part.image * p.heads + part.head) * p.n_q + part.first;
  grad_out += row * grad_out_stride + part.head * d;
  out += row * out_stride + part.head * d;
  load_tile(queries, p.queries + row * p.width() + part.head * d, p.width(), count, d);
  load_tile(grads, grad_out, grad_out_stride, count, d);

  float log_sum[kRowsPerWarp], projection[kRowsPerWarp];
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const int mine = warp * kRowsPerWarp + r;
    float product = 0.0f;
    for (int c = lane; mine < count && c < d; c += kWarpSize) {
      product +=
          to_float(out[mine * out_stride + c]) * to_float(grad_out[mine * grad_out_stride + c]);
    }
    projection[r] = warp_sum(product);
    log_sum[r] = mine < count ? lse[statistics + mine] * kLog2E : 0.0f;
    if (lane == 0 && mine < count) delta[statistics + mine] = projection[r];
  }

  float sums[kRowsPerWarp][kColumns] = {};
  for (int64_t first = 0; first < p.n_k; first += kTile) {
    const int64_t left = p.n_k - first;
    __syncthreads();  // until the last tile has been used
    load_tile(keys, p.keys + (part.image * p.n_k + first) * p.width() + part.head * d, p.width(),
              left, d);
    load_tile(values, v + (place.context * p.n_k + first) * v_stride + part.head * d, v_stride,
              left, d);
    __syncthreads();
    float weights[kRowsPerWarp], slopes[kRowsPerWarp];
    dots(weights, queries, keys, d);
    dots(slopes, grads, values, d);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      const float weight = exp2f(weights[r] - log_sum[r]);
      slopes[r] = lane < left ? weight * (slopes[r] - projection[r]) : 0.0f;
    }
    add_weighted(sums, slopes, keys, exchange, d);
  }
  grad_q += row * p.width() + part.head * d;
  for_sums(sums, count, d, [&](int r, int c, float sum) { grad_q[r * p.width() + c] = sum; });
}

// dV, and dK, still rotated and with the log2(e) that the queries carry: a block owns keys and
// streams queries. It reads only its own rows of v before it writes them: grad_v may be v.
template <int kColumns, typename T>
__global__ void grad_keys_kernel(Problem p,
                                 const T* v,          // (contexts * n_k, heads * d)
                                 const T* grad_out,   // (images * n_q, heads * d)
                                 const float* lse,    // (images * heads, n_q)
                                 const float* delta,  // (images * heads, n_q)
                                 float* grad_k,       // (images * n_k, heads * d)
                                 T* grad_v,           // (contexts * n_k, heads * d)
                                 int64_t v_stride, int64_t grad_out_stride, int64_t grad_v_stride) {
  const int d = static_cast<int>(p.d), tile_floats = kTile * pitch_of(d);
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  float* const keys = shared_memory<float>();
  float* const values = keys + tile_floats;
  float* const queries = values + tile_floats;
  float* const grads = queries + tile_floats;
  float* const exchange = grads + tile_floats + warp * kRowsPerWarp * kWarpSize;

  const Part part = part_of(p, p.n_k);
  const Place place = p.places.at(part.image);
  const int64_t count = min(int64_t{kTile}, p.n_k - part.first);
  float key_sums[kRowsPerWarp][kColumns] = {}, value_sums[kRowsPerWarp][kColumns] = {};
  if (!place.valid()) {
    if (p.places.contexts != nullptr) return;  // clear_unused_kernel's
    grad_v += (part.image * p.n_k + part.first) * grad_v_stride + part.head * d;
    for_sums(value_sums, count, d,
             [&](int r, int c, float sum) { grad_v[r * grad_v_stride + c] = from_float<T>(sum); });
    return;
  }
  const int64_t context_row = place.context * p.n_k + part.first;
  const int64_t row = part.image * p.n_k + part.first;
  load_tile(keys, p.keys + row * p.width() + part.head * d, p.width(), count, d);
  load_tile(values, v + context_row * v_stride + part.head * d, v_stride, count, d);

  for (int64_t first = 0; first < p.n_q; first += kTile) {
    const int64_t left = p.n_q - first;
    const int64_t query_row = part.image * p.n_q + first;
    const int64_t statistics = (part.image * p.heads + part.head) * p.n_q + first;
    __syncthreads();  // until the last tile has been used
    load_tile(queries, p.queries + query_row * p.width() + part.head * d, p.width(), left, d);
    load_tile(grads, grad_out + query_row * grad_out_stride + part.head * d, grad_out_stride, left,
              d);
    __syncthreads();
    const float log_sum = lane < left ? lse[statistics + lane] * kLog2E : 0.0f;
    const float projection = lane < left ? delta[statistics + lane] : 0.0f;
    float weights[kRowsPerWarp], slopes[kRowsPerWarp];
    dots(weights, keys, queries, d);
    dots(slopes, values, grads, d);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      weights[r] = lane < left ? exp2f(weights[r] - log_sum) : 0.0f;
      slopes[r] = lane < left ? weights[r] * (slopes[r] - projection) : 0.0f;
    }
    add_weighted(value_sums, weights, grads, exchange, d);
    add_weighted(key_sums, slopes, queries, exchange, d);
  }
  grad_k += row * p.width() + part.head * d;
  grad_v += context_row * grad_v_stride + part.head * d;
  for_sums(key_sums, count, d, [&](int r, int c, float sum) { grad_k[r * p.width() + c] = sum; });
  for_sums(value_sums, count, d,
           [&](int r, int c, float sum) { grad_v[r * grad_v_stride + c] = from_float<T>(sum); });
}

template <int kColumns, typename T>
void backward(const AttentionBackward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q, d = op.q.cols / op.heads;
  struct Scratch {
    RotatedRows rows;
    float* delta;
    RotatedGradients gradients;
  };
  const Scratch scratch = carve(queue, [&](Carver& carver) {
    return Scratch{carve_rotated(op, carver), carver.take<float>(images * op.heads * op.n_q),
                   RotatedGradients{carver.take<float>(images * op.n_q * op.q.cols),
                                    carver.take<float>(images * op.n_k * op.q.cols),
                                    carver.take<float>(frequency_floats(op)),
                                    kLn2}};  // the rotated queries carry log2(e) too
  });
  const auto [queries, keys] = scratch.rows;
  rotate_rows(query_rows(op), op.q, queries, score_scale(op) * kLog2E, queue);
  rotate_rows(key_rows(op), op.k, keys, 1.0f, queue);
  const Problem problem = problem_of(op, queries, keys);
  launch(grad_queries_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_q, kTile), kThreads,
         f32_shared_bytes(4, d), queue.handle(), problem, op.v.as<T>(), op.out.as<T>(),
         op.grad_out.as<T>(), op.lse.as<float>(), scratch.gradients.queries, scratch.delta,
         op.v.stride, op.out.stride, op.grad_out.stride);
  launch(grad_keys_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_k, kTile), kThreads,
         f32_shared_bytes(4, d), queue.handle(), problem, op.v.as<T>(), op.grad_out.as<T>(),
         op.lse.as<float>(), scratch.delta, scratch.gradients.keys, op.grad_v.as<T>(), op.v.stride,
         op.grad_out.stride, op.grad_v.stride);
  rotate_back(op, scratch.gradients, queue);
}

}  // namespace

void attention_backward_f32(const AttentionBackward& op, DeviceQueue& queue) {
  with_columns(op, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    op.q.dtype == Dtype::kF32 ? backward<kColumns, float>(op, queue)
                              : backward<kColumns, bf16>(op, queue);
  });
}

}  // namespace capi
