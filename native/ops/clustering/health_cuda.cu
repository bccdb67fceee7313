#include "ops/clustering/health.h"

#include "core/cuda/block.h"
#include "core/cuda/carver.h"
#include "core/cuda/launch.h"

namespace capi {

namespace {

constexpr int kThreads = 128;
constexpr int kMergeThreads = 256;
constexpr int64_t kChunkRows = 64;

// ---- target_statistics --------------------------------------------------------------------------

// A block takes one chunk of rows and kThreads * kVec columns, a thread kVec of them: each target
// is read once, and 4 bytes a column of a chunk are written. Sums over a chunk are in f32.
template <int kVec, typename T>
__global__ void statistics_kernel(const T* __restrict__ targets,   // (rows, columns)
                                  float* __restrict__ masses,      // (chunks, columns)
                                  double* __restrict__ entropies,  // (chunks, column blocks)
                                  int64_t rows, int64_t columns) {
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kVec;
  const int64_t begin = int64_t{blockIdx.x} * kChunkRows;
  const int64_t end = begin + kChunkRows < rows ? begin + kChunkRows : rows;
  float entropy = 0.0f;
  if (column < columns) {
    float mass[kVec] = {};
#pragma unroll 4
    for (int64_t row = begin; row < end; ++row) {
      float a[kVec];
      load_floats(a, targets + row * columns + column);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        mass[j] += a[j];
        if (a[j] != 0.0f) entropy -= a[j] * logf(a[j]);
      }
    }
    store_floats(masses + blockIdx.x * columns + column, mass);
  }
  const double total = block_sum(static_cast<double>(entropy), shared_memory<double>());
  if (threadIdx.x == 0) entropies[int64_t{blockIdx.x} * gridDim.y + blockIdx.y] = total;
}

// One thread a column; chunks are added in order.
__global__ void merge_masses_kernel(const float* __restrict__ masses,  // (chunks, columns)
                                    float* __restrict__ mass,          // (columns)
                                    int64_t chunks, int64_t columns, double rows) {
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= columns) return;
  double total = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    total += static_cast<double>(masses[chunk * columns + k]);
  }
  mass[k] = static_cast<float>(total / rows);
}

// One block; thread i takes values i, i + kMergeThreads, …
__global__ void merge_entropies_kernel(const double* __restrict__ entropies,
                                       float* __restrict__ entropy, int64_t count, double rows) {
  double total = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kMergeThreads) total += entropies[i];
  total = block_sum(total, shared_memory<double>());
  if (threadIdx.x == 0) *entropy = static_cast<float>(total / rows);
}

template <int kVec, typename T>
void statistics(const TargetStatistics& op, DeviceQueue& queue) {
  const int64_t rows = op.targets.rows, columns = op.targets.cols;
  const dim3 grid(blocks_for(rows, kChunkRows), blocks_for(columns, kThreads * kVec));
  const int64_t chunks = grid.x, blocks = chunks * grid.y;
  struct Arrays {
    float* masses;
    double* entropies;
  };
  const Arrays at = carve(queue, [&](Carver& c) {
    return Arrays{c.take<float>(chunks * columns), c.take<double>(blocks)};
  });
  launch(statistics_kernel<kVec, T>, grid, kThreads, kThreads / kWarpSize * sizeof(double),
         queue.handle(), op.targets.as<T>(), at.masses, at.entropies, rows, columns);
  launch(merge_masses_kernel, blocks_for(columns, kThreads), kThreads, 0, queue.handle(), at.masses,
         op.mass.as<float>(), chunks, columns, rows);
  launch(merge_entropies_kernel, 1, kMergeThreads, kMergeThreads / kWarpSize * sizeof(double),
         queue.handle(), at.entropies, op.entropy.as<float>(), blocks, rows);
}

// ---- positional_collapse ------------------------------------------------------------------------

// Warps of a block, which share the images of a position.
constexpr int kWarps = 8;

struct Features {
  int64_t images, positions, registers, columns, stride;

  __device__ __forceinline__ int64_t row(int64_t image, int64_t position) const {
    return (image * (registers + positions) + registers + position) * stride;
  }
};

// A block takes 32 columns of one position, a lane one of them; warps take images in turn. Twice
// over the images: their mean, then the squares of what is left. The second time their lines come
// from L2. Everything in f64.
template <typename T>
__global__ void position_kernel(const T* __restrict__ features,  // (images * period, columns)
                                double* __restrict__ means,      // (positions, columns)
                                double* __restrict__ within,     // (positions, column blocks)
                                Features at) {
  double* const sums = shared_memory<double>();  // (kWarps, 32)
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t position = blockIdx.x, column = int64_t{blockIdx.y} * kWarpSize + lane;
  const bool inside = column < at.columns;
  // The sum over the warps, for every one of them.
  const auto over_warps = [&](double value) {
    sums[warp * kWarpSize + lane] = value;
    __syncthreads();
    double total = 0.0;
    for (int w = 0; w < kWarps; ++w) total += sums[w * kWarpSize + lane];
    __syncthreads();
    return total;
  };

  double total = 0.0;
  for (int64_t image = warp; inside && image < at.images; image += kWarps) {
    total += static_cast<double>(to_float(features[at.row(image, position) + column]));
  }
  const double mean = over_warps(total) / static_cast<double>(at.images);

  double squares = 0.0;
  for (int64_t image = warp; inside && image < at.images; image += kWarps) {
    const double d =
        static_cast<double>(to_float(features[at.row(image, position) + column])) - mean;
    squares += d * d;
  }
  squares = warp_sum(over_warps(squares));
  if (warp != 0) return;
  if (inside) means[position * at.columns + column] = mean;
  if (lane == 0) within[position * gridDim.y + blockIdx.y] = squares;
}

// One thread a column: the variance of its position means, times images.
__global__ void between_kernel(const double* __restrict__ means,  // (positions, columns)
                               double* __restrict__ between,      // (column blocks)
                               Features at) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  double total = 0.0;
  if (column < at.columns) {
    double grand = 0.0;
    for (int64_t t = 0; t < at.positions; ++t) grand += means[t * at.columns + column];
    grand /= static_cast<double>(at.positions);
    for (int64_t t = 0; t < at.positions; ++t) {
      const double d = means[t * at.columns + column] - grand;
      total += d * d * static_cast<double>(at.images);
    }
  }
  total = block_sum(total, shared_memory<double>());
  if (threadIdx.x == 0) between[blockIdx.x] = total;
}

// One block; thread i takes values i, i + kMergeThreads, …
__global__ void merge_variance_kernel(const double* __restrict__ between,
                                      const double* __restrict__ within,
                                      double* __restrict__ result,  // between, total
                                      int64_t between_count, int64_t within_count, double rows) {
  double* const partial = shared_memory<double>();
  double sums[2] = {0.0, 0.0};
  for (int64_t i = threadIdx.x; i < between_count; i += kMergeThreads) sums[0] += between[i];
  for (int64_t i = threadIdx.x; i < within_count; i += kMergeThreads) sums[1] += within[i];
  sums[0] = block_sum(sums[0], partial);
  sums[1] = block_sum(sums[1], partial);
  if (threadIdx.x != 0) return;
  result[0] = sums[0] / rows;
  result[1] = (sums[0] + sums[1]) / rows;
}

}  // namespace

void target_statistics_cuda(const TargetStatistics& op, DeviceQueue& queue) {
  const bool wide = aligned_rows({op.targets}, 8);
  if (op.targets.dtype == Dtype::kF32) {
    return wide ? statistics<8, float>(op, queue) : statistics<1, float>(op, queue);
  }
  return wide ? statistics<8, bf16>(op, queue) : statistics<1, bf16>(op, queue);
}

void positional_collapse_cuda(const PositionalCollapse& op, DeviceQueue& queue) {
  const int64_t images = op.features.rows / (op.registers + op.positions);
  const Features at = {images, op.positions, op.registers, op.features.cols, op.features.stride};
  const dim3 grid(static_cast<unsigned>(op.positions), blocks_for(at.columns, kWarpSize));
  const unsigned stripes = blocks_for(at.columns, kThreads);
  const int64_t within_count = int64_t{grid.x} * grid.y;
  struct Arrays {
    double *means, *within, *between;
  };
  const Arrays to = carve(queue, [&](Carver& c) {
    return Arrays{c.take<double>(op.positions * at.columns), c.take<double>(within_count),
                  c.take<double>(stripes)};
  });
  const dim3 block(kWarpSize, kWarps);
  constexpr size_t kSharedBytes = kWarps * kWarpSize * sizeof(double);
  if (op.features.dtype == Dtype::kF32) {
    launch(position_kernel<float>, grid, block, kSharedBytes, queue.handle(),
           op.features.as<float>(), to.means, to.within, at);
  } else {
    launch(position_kernel<bf16>, grid, block, kSharedBytes, queue.handle(), op.features.as<bf16>(),
           to.means, to.within, at);
  }
  launch(between_kernel, stripes, kThreads, kThreads / kWarpSize * sizeof(double), queue.handle(),
         to.means, to.between, at);
  launch(merge_variance_kernel, 1, kMergeThreads, kMergeThreads / kWarpSize * sizeof(double),
         queue.handle(), to.between, to.within, op.result.as<double>(), stripes, within_count,
         images * op.positions);
}

}  // namespace capi
