#include "ops/clustering/target_rows.h"

#include "core/cuda/launch.h"
#include "core/device_queue.h"

namespace capi {

namespace {

constexpr int kThreads = 256;

// One thread a predicted patch; they are distinct, so no two write the same place.
__global__ void invert_kernel(const int32_t* __restrict__ predict,  // (count)
                              int32_t* __restrict__ target_rows,    // (positions * images)
                              int64_t count, int64_t images, int64_t positions) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t patch = predict[i];
  if (patch < 0 || patch >= images * positions) return;
  const int64_t image = patch / positions, position = patch % positions;
  target_rows[position * images + image] = static_cast<int32_t>(i);
}

}  // namespace

void target_rows_cuda(const TargetRows& op, DeviceQueue& queue) {
  int32_t* const rows = op.target_rows.as<int32_t>();
  const size_t bytes = static_cast<size_t>(op.images * op.positions) * sizeof(int32_t);
  CAPI_CUDA_CHECK(cudaMemsetAsync(rows, 0xFF, bytes, queue.handle()));  // -1
  launch(invert_kernel, blocks_for(op.predict.cols, kThreads), kThreads, 0, queue.handle(),
         op.predict.as<int32_t>(), rows, op.predict.cols, op.images, op.positions);
}

}  // namespace capi
