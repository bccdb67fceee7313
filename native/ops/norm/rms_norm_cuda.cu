#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/norm/rms_norm.h"

namespace capi {

namespace {

// Rows of a partial sum of grad_weight, as on the CPU.
constexpr int kChunkRows = 64;
// Forward: one warp a row. ViT-L rows are 1024 wide: 4 loads of 16 bytes a lane in bf16, so a row
// stays in L1 between its two passes.
constexpr int kForwardWarps = 4;
// Backward: a block a chunk, its warps take rows in turn. Each warp adds to sums of its own in
// shared memory, 32 KB for 8 warps and ViT-L, so that 5 blocks fit on a multiprocessor of an A100.
constexpr int kMostBackwardWarps = 8;
constexpr int64_t kMostSums = 8 * 1024;

// Source row of a row of the op; -1 where the image number lies outside the source.
__device__ int64_t source_of(const RowMap& map, int64_t row, int64_t source_rows) {
  const int64_t source = map.source(row);
  return source >= 0 && source < source_rows ? source : -1;
}

template <int kVec, typename T>
__device__ void fill_nan(T* y, int dim, int lane) {
  const float nan = __int_as_float(0x7fc00000);
  for (int i = lane; i < dim; i += kWarpSize) y[i] = from_float<T>(nan);
}

template <int kVec, typename T, typename W>
__global__ void rms_norm_forward_kernel(const T* x,       // (source rows, dim)
                                        const W* weight,  // (dim) or null
                                        T* y,             // (rows, dim)
                                        float* rstd,      // (rows) or null
                                        RowMap map, int64_t source_rows, int64_t rows, int dim,
                                        int64_t x_stride, int64_t y_stride, float eps) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kForwardWarps + threadIdx.y;
  if (row >= rows) return;
  y += row * y_stride;
  const int64_t source = source_of(map, row, source_rows);
  if (source < 0) {
    fill_nan<kVec>(y, dim, lane);
    if (rstd != nullptr && lane == 0) rstd[row] = __int_as_float(0x7fc00000);
    return;
  }
  x += source * x_stride;

  float squares = 0.0f;
  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float v[kVec];
    load_floats(v, x + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) squares += v[j] * v[j];
  }
  const float r = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(dim) + eps);

  for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
    float v[kVec], w[kVec];
    load_floats(v, x + i);
    if (weight != nullptr) load_floats(w, weight + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] *= weight != nullptr ? r * w[j] : r;
    store_floats(y + i, v);
  }
  if (rstd != nullptr && lane == 0) rstd[row] = r;
}

// One warp a row at a time; grad_x may be x or grad_y, which is why no pointer is __restrict__.
template <int kVec, typename T, typename W>
__global__ void rms_norm_backward_kernel(const T* x,         // (source rows, dim)
                                         const W* weight,    // (dim) or null
                                         const float* rstd,  // (rows)
                                         const T* grad_y,    // (rows, dim)
                                         T* grad_x,          // (source rows, dim)
                                         float* partials,    // (chunks, dim) or null
                                         T* y,               // (rows, dim) or null
                                         RowMap map, int64_t source_rows, int64_t rows, int dim,
                                         int64_t x_stride, int64_t grad_y_stride,
                                         int64_t grad_x_stride, int64_t y_stride, bool accumulate) {
  float* const sums = shared_memory<float>();  // (warps, dim)
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y;
  float* const mine = sums + warp * dim;
  if (partials != nullptr) {
    for (int i = lane; i < dim; i += kWarpSize) mine[i] = 0.0f;
    __syncwarp();
  }

  const int64_t begin = int64_t{blockIdx.x} * kChunkRows;
  const int64_t end = begin + kChunkRows < rows ? begin + kChunkRows : rows;
  for (int64_t row = begin + warp; row < end; row += warps) {
    T* const y_row = y != nullptr ? y + row * y_stride : nullptr;
    const int64_t source = source_of(map, row, source_rows);
    if (source < 0) {
      if (y_row != nullptr) fill_nan<kVec>(y_row, dim, lane);
      continue;
    }
    const T* const x_row = x + source * x_stride;
    const T* const grad_row = grad_y + row * grad_y_stride;
    T* const to = grad_x + source * grad_x_stride;
    const float r = rstd[row];

    float projection = 0.0f;  // sum of grad_y weight x
    for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
      float v[kVec], g[kVec], w[kVec];
      load_floats(v, x_row + i);
      load_floats(g, grad_row + i);
      if (weight != nullptr) load_floats(w, weight + i);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        const float product = g[j] * v[j];
        projection += weight != nullptr ? product * w[j] : product;
        if (partials != nullptr) mine[i + j] += product * r;
      }
    }
    const float slope = warp_sum(projection) / static_cast<float>(dim) * r * r * r;

    for (int i = lane * kVec; i < dim; i += kWarpSize * kVec) {
      float v[kVec], g[kVec], w[kVec], out[kVec];
      load_floats(v, x_row + i);
      load_floats(g, grad_row + i);
      if (weight != nullptr) load_floats(w, weight + i);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        out[j] = v[j] * r * (weight != nullptr ? w[j] : 1.0f);
        g[j] = g[j] * (weight != nullptr ? w[j] : 1.0f) * r - v[j] * slope;
      }
      if (accumulate) {
        float before[kVec];
        load_floats(before, to + i);
#pragma unroll
        for (int j = 0; j < kVec; ++j) g[j] += before[j];
      }
      store_floats(to + i, g);
      if (y_row != nullptr) store_floats(y_row + i, out);
    }
  }

  if (partials == nullptr) return;
  __syncthreads();
  for (int i = warp * kWarpSize + lane; i < dim; i += warps * kWarpSize) {
    float total = 0.0f;
    for (int w = 0; w < warps; ++w) total += sums[w * dim + i];
    partials[int64_t{blockIdx.x} * dim + i] = total;
  }
}

constexpr int kMergeThreads = 32;  // the columns of ViT-L are then work for 32 multiprocessors
// Partial sums asked for before the first is added: a batch of ViT-L leaves 848 of each column.
constexpr int kMergeAhead = 16;

// One thread a column; chunks are added in order.
__global__ void merge_partials_kernel(const float* __restrict__ partials,  // (chunks, dim)
                                      float* __restrict__ grad_weight,     // (dim)
                                      int64_t chunks, int dim) {
  const int i = static_cast<int>(blockIdx.x * kMergeThreads + threadIdx.x);
  if (i >= dim) return;
  float total = 0.0f;
#pragma unroll kMergeAhead
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk * dim + i];
  grad_weight[i] = total;
}

template <int kVec, typename T, typename W>
void forward(const RmsNormForward& op, cudaStream_t stream) {
  launch(rms_norm_forward_kernel<kVec, T, W>, blocks_for(op.y.rows, kForwardWarps),
         dim3(kWarpSize, kForwardWarps), 0, stream, op.x.as<T>(), op.weight.as<W>(), op.y.as<T>(),
         op.rstd.as<float>(), op.map, op.x.rows, op.y.rows, op.x.cols, op.x.stride, op.y.stride,
         op.eps);
}

template <int kVec, typename T, typename W>
void backward(const RmsNormBackward& op, DeviceQueue& queue) {
  const int64_t rows = op.grad_y.rows, dim = op.x.cols;
  const unsigned chunks = blocks_for(rows, kChunkRows);
  float* partials = nullptr;
  int64_t warps = kMostBackwardWarps;
  size_t shared_bytes = 0;
  if (op.grad_weight) {
    partials =
        static_cast<float*>(queue.scratch(sizeof(float) * static_cast<size_t>(chunks * dim)));
    while (warps > 1 && warps * dim > kMostSums) --warps;
    shared_bytes = sizeof(float) * static_cast<size_t>(warps * dim);
  }
  launch(rms_norm_backward_kernel<kVec, T, W>, chunks,
         dim3(kWarpSize, static_cast<unsigned>(warps)), shared_bytes, queue.handle(), op.x.as<T>(),
         op.weight.as<W>(), op.rstd.as<float>(), op.grad_y.as<T>(), op.grad_x.as<T>(), partials,
         op.y.as<T>(), op.map, op.x.rows, rows, dim, op.x.stride, op.grad_y.stride,
         op.grad_x.stride, op.y.stride, op.accumulate);
  if (!op.grad_weight) return;
  launch(merge_partials_kernel, blocks_for(dim, kMergeThreads), kMergeThreads, 0, queue.handle(),
         partials, op.grad_weight.as<float>(), int64_t{chunks}, dim);
}

// Elements of x in 16 bytes, or 1 where some row is not aligned to them.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

}  // namespace

void rms_norm_forward_cuda(const RmsNormForward& op, DeviceQueue& queue) {
  const cudaStream_t stream = queue.handle();
  const bool wide = aligned_rows({op.x, op.weight, op.y}, kVector<bf16>);
  if (op.x.dtype == Dtype::kF32) {
    return wide ? forward<kVector<float>, float, float>(op, stream)
                : forward<1, float, float>(op, stream);
  }
  if (op.weight.dtype == Dtype::kBF16) {
    return wide ? forward<kVector<bf16>, bf16, bf16>(op, stream)
                : forward<1, bf16, bf16>(op, stream);
  }
  return wide ? forward<kVector<bf16>, bf16, float>(op, stream)
              : forward<1, bf16, float>(op, stream);
}

void rms_norm_backward_cuda(const RmsNormBackward& op, DeviceQueue& queue) {
  const bool wide = aligned_rows({op.x, op.weight, op.grad_y, op.grad_x, op.y}, kVector<bf16>);
  if (op.x.dtype == Dtype::kF32) {
    return wide ? backward<kVector<float>, float, float>(op, queue)
                : backward<1, float, float>(op, queue);
  }
  if (op.weight.dtype == Dtype::kBF16) {
    return wide ? backward<kVector<bf16>, bf16, bf16>(op, queue)
                : backward<1, bf16, bf16>(op, queue);
  }
  return wide ? backward<kVector<bf16>, bf16, float>(op, queue)
              : backward<1, bf16, float>(op, queue);
}

}  // namespace capi
