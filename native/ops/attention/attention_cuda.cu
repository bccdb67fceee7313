// Attention for any head size, number of tokens and dtype in f32 arithmetic. Queries and keys are
// rotated to f32 scratch once; then blocks own a tile of rows of one image and head in shared
// memory and stream the other side past it in tiles.
#include <type_traits>

#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/attention/attention_cuda.h"

namespace capi {

namespace {

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
__device__ Part part_of(const Problem& p, int64_t n) {
  const int64_t tiles = (n + kTile - 1) / kTile, block = blockIdx.x;
  return {block / tiles / p.heads, block / tiles % p.heads, block % tiles * kTile};
}

// Rows of d floats in shared memory: an odd number of 16-byte pieces apart, so that lanes that read
// one piece of a row each meet all banks.
constexpr int pitch_of(int64_t d) { return static_cast<int>(d / 4 | 1) * 4; }

// A tile of rows that follow each other at `stride`; zeros beyond `count`. One row a warp at a
// time.
template <typename T>
__device__ void load_tile(float* to, const T* from, int64_t stride, int64_t count, int d) {
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

// One block a context: where no image attends to it, its gradients are zero.
template <typename T>
__global__ void clear_unused_kernel(Places places, T* grad_k, T* grad_v, int64_t images,
                                    int64_t n_k, int64_t width, int64_t k_stride,
                                    int64_t v_stride) {
  int* const used = shared_memory<int>();  // (kThreads)
  bool mine = false;
  for (int64_t i = threadIdx.x; i < images; i += kThreads) {
    const Place place = places.at(i);
    mine = mine || (place.valid() && place.context == int64_t{blockIdx.x});
  }
  used[threadIdx.x] = mine ? 1 : 0;
  __syncthreads();
  for (int i = 0; i < kThreads; ++i) {
    if (used[i] != 0) return;
  }
  const T zero = from_float<T>(0.0f);
  for (int64_t row = blockIdx.x * n_k; row < (blockIdx.x + 1) * n_k; ++row) {
    for (int64_t c = threadIdx.x; c < width; c += kThreads) {
      grad_k[row * k_stride + c] = zero;
      grad_v[row * v_stride + c] = zero;
    }
  }
}

template <typename Op>
Problem problem_of(const Op& op, const float* queries, const float* keys) {
  return {queries,  keys,   places_of(op), op.q.rows / op.n_q,
          op.heads, op.n_q, op.n_k,        op.q.cols / op.heads};
}

size_t shared_bytes(int64_t tiles, int64_t d) {
  return sizeof(float) *
         static_cast<size_t>(tiles * kTile * pitch_of(d) + kWarps * kRowsPerWarp * kWarpSize);
}

template <int kColumns, typename T>
void forward(const AttentionForward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q, d = op.q.cols / op.heads;
  float *queries = nullptr, *keys = nullptr;
  carve_scratch(queue, [&](Carver& carver) {
    queries = carver.floats(images * op.n_q * op.q.cols);
    keys = carver.floats(images * op.n_k * op.q.cols);
  });
  rotate_rows(query_rows(op), op.q, queries, score_scale(op) * kLog2E, queue);
  rotate_rows(key_rows(op), op.k, keys, 1.0f, queue);
  launch(forward_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_q, kTile), kThreads,
         shared_bytes(3, d), queue.handle(), problem_of(op, queries, keys), op.v.as<T>(),
         op.out.as<T>(), op.lse.as<float>(), op.v.stride, op.out.stride);
}

template <int kColumns, typename T>
void backward(const AttentionBackward& op, DeviceQueue& queue) {
  const int64_t images = op.q.rows / op.n_q, d = op.q.cols / op.heads;
  float *queries = nullptr, *keys = nullptr, *delta = nullptr;
  RotatedGradients rotated{};  // the rotated queries carry log2(e) too
  carve_scratch(queue, [&](Carver& carver) {
    queries = carver.floats(images * op.n_q * op.q.cols);
    keys = carver.floats(images * op.n_k * op.q.cols);
    delta = carver.floats(images * op.heads * op.n_q);
    rotated = {carver.floats(images * op.n_q * op.q.cols),
               carver.floats(images * op.n_k * op.q.cols), carver.floats(frequency_floats(op)),
               kLn2};
  });
  rotate_rows(query_rows(op), op.q, queries, score_scale(op) * kLog2E, queue);
  rotate_rows(key_rows(op), op.k, keys, 1.0f, queue);
  const Problem problem = problem_of(op, queries, keys);
  launch(grad_queries_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_q, kTile), kThreads,
         shared_bytes(4, d), queue.handle(), problem, op.v.as<T>(), op.out.as<T>(),
         op.grad_out.as<T>(), op.lse.as<float>(), rotated.queries, delta, op.v.stride,
         op.out.stride, op.grad_out.stride);
  launch(grad_keys_kernel<kColumns, T>, images * op.heads * blocks_for(op.n_k, kTile), kThreads,
         shared_bytes(4, d), queue.handle(), problem, op.v.as<T>(), op.grad_out.as<T>(),
         op.lse.as<float>(), delta, rotated.keys, op.grad_v.as<T>(), op.v.stride,
         op.grad_out.stride, op.grad_v.stride);
  rotate_back(op, rotated, queue);
}

template <typename T>
void clear_unused(const AttentionBackward& op, DeviceQueue& queue) {
  launch(clear_unused_kernel<T>, op.k.rows / op.n_k, kThreads, sizeof(int) * kThreads,
         queue.handle(), places_of(op), op.grad_k.as<T>(), op.grad_v.as<T>(), op.q.rows / op.n_q,
         op.n_k, op.k.cols, op.grad_k.stride, op.grad_v.stride);
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

}  // namespace

void clear_unused_contexts(const AttentionBackward& op, DeviceQueue& queue) {
  if (!op.context_images) return;  // all are used
  op.q.dtype == Dtype::kF32 ? clear_unused<float>(op, queue) : clear_unused<bf16>(op, queue);
}

int64_t frequency_floats(const AttentionBackward& op) {
  if (!op.grad_frequencies || op.rope == Rope::kNone) return 0;
  return frequency_part_floats(query_rows(op)) + frequency_part_floats(key_rows(op));
}

void rotate_back(const AttentionBackward& op, const RotatedGradients& from, DeviceQueue& queue) {
  const int64_t floats = frequency_floats(op);
  float* const parts = floats > 0 ? from.parts : nullptr;
  float* const key_parts =
      floats > 0 ? from.parts + frequency_part_floats(query_rows(op)) : nullptr;
  rotate_back_rows(query_rows(op), from.queries, op.q.cols, score_scale(op), op.q, op.grad_q, parts,
                   queue);
  rotate_back_rows(key_rows(op), from.keys, op.q.cols, from.key_scale, op.k, op.grad_k, key_parts,
                   queue);
  if (op.grad_frequencies) {
    merge_frequency_parts(from.parts, floats, op.grad_frequencies, queue);
  }
}

void attention_forward_cuda(const AttentionForward& op, DeviceQueue& queue) {
  if (runs_on_mma(op)) return attention_forward_mma(op, queue);
  with_columns(op, [&](auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    op.q.dtype == Dtype::kF32 ? forward<kColumns, float>(op, queue)
                              : forward<kColumns, bf16>(op, queue);
  });
}

void attention_backward_cuda(const AttentionBackward& op, DeviceQueue& queue) {
  if (runs_on_mma(op)) {
    attention_backward_mma(op, queue);
  } else {
    with_columns(op, [&](auto columns) {
      constexpr int kColumns = decltype(columns)::value;
      op.q.dtype == Dtype::kF32 ? backward<kColumns, float>(op, queue)
                                : backward<kColumns, bf16>(op, queue);
    });
  }
  clear_unused_contexts(op, queue);
}

}  // namespace capi
