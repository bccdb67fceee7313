#include "ops/clustering/chunk_sums_cuda.h"

#include "ops/clustering/sinkhorn_groups_cuda.h"

namespace capi::sinkhorn {

namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 256;

__device__ __forceinline__ float next_column_scale(float scale, float sum, bool first) {
  if (first) return 1.0f / (sum + kEps);
  return sum == 0.0f ? 0.0f : scale / (scale * sum + kEps);
}

// A block takes 32 columns of one group, a lane one of them; warp w adds partial rows w, w + 8, …,
// so that a long list of chunks keeps many reads under way. Then the first warp adds the warps'
// sums. Every partial is read once, in whole lines.
__global__ void add_partials_kernel(const float* __restrict__ partials,  // (groups, count, columns)
                                    float* into,          // (groups, columns) or null
                                    float* column_scale,  // (groups, columns) or null
                                    int64_t count, int64_t columns, bool accumulate, bool first) {
  double* const totals = shared_memory<double>();  // (kWarps, 32)
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t blocks = (columns + kWarpSize - 1) / kWarpSize;
  const int64_t group = blockIdx.x / blocks, column = blockIdx.x % blocks * kWarpSize + lane;
  double total = 0.0;
  if (column < columns) {
    const float* const from = partials + group * count * columns + column;
    for (int64_t i = warp; i < count; i += kWarps) total += static_cast<double>(from[i * columns]);
  }
  totals[warp * kWarpSize + lane] = total;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  const int64_t at = group * columns + column;
  total = accumulate ? static_cast<double>(into[at]) : 0.0;
  for (int w = 0; w < kWarps; ++w) total += totals[w * kWarpSize + lane];
  const float sum = static_cast<float>(total);
  if (into != nullptr) into[at] = sum;
  if (column_scale != nullptr) {
    column_scale[at] = next_column_scale(first ? 0.0f : column_scale[at], sum, first);
  }
}

__global__ void update_columns_kernel(const float* __restrict__ column_sums,
                                      float* __restrict__ column_scale, int64_t columns,
                                      bool first) {
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= columns) return;
  column_scale[k] = next_column_scale(first ? 0.0f : column_scale[k], column_sums[k], first);
}

// One block; thread i takes partials i, i + kThreads, …
__global__ void add_losses_kernel(const double* __restrict__ partials, double* __restrict__ loss,
                                  int64_t count, double total_rows, bool accumulate) {
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) total += partials[i];
  total = block_sum(total, shared_memory<double>());
  if (threadIdx.x == 0) *loss = (accumulate ? *loss : 0.0) + total / total_rows;
}

}  // namespace

void add_partials(const float* partials, int64_t groups, int64_t count, int64_t columns,
                  bool accumulate, float* into, const ColumnUpdate& update, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(groups) * blocks_for(columns, kWarpSize);
  launch(add_partials_kernel, blocks, dim3(kWarpSize, kWarps), kWarps * kWarpSize * sizeof(double),
         stream, partials, into, update.column_scale, count, columns, accumulate, update.first);
}

void update_columns(const float* column_sums, int64_t columns, const ColumnUpdate& update,
                    cudaStream_t stream) {
  launch(update_columns_kernel, blocks_for(columns, kThreads), kThreads, 0, stream, column_sums,
         update.column_scale, columns, update.first);
}

void add_losses(const double* partials, int64_t count, double total_rows, bool accumulate,
                double* loss, cudaStream_t stream) {
  launch(add_losses_kernel, 1, kThreads, kThreads / kWarpSize * sizeof(double), stream, partials,
         loss, count, total_rows, accumulate);
}

}  // namespace capi::sinkhorn
