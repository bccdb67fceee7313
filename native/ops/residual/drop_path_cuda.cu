#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/residual/drop_path.h"
#include "ops/residual/drop_path_draw.h"

namespace capi {

namespace {

// One warp a block: the branches of ViT-L then spread over two or three multiprocessors.
constexpr int kThreads = 32;

// One thread a branch: its draws follow from each other, and the numbers must be the CPU's. 512
// images take 512 draws, some tens of microseconds a step, all branches at once.
__global__ void drop_path_indices_kernel(int32_t* __restrict__ indices,  // (branches, n_keep)
                                         const uint32_t* __restrict__ iteration, int64_t branches,
                                         int64_t n_keep, int64_t batch, uint64_t seed,
                                         int64_t first_branch) {
  const int64_t branch = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (branch >= branches) return;
  draw_branch(indices + branch * n_keep, n_keep, batch, seed, *iteration, first_branch + branch);
}

}  // namespace

void drop_path_indices_cuda(const DropPathIndices& op, DeviceQueue& queue) {
  launch(drop_path_indices_kernel, blocks_for(op.indices.rows, kThreads), kThreads, 0,
         queue.handle(), op.indices.as<int32_t>(), op.iteration.as<uint32_t>(), op.indices.rows,
         op.indices.cols, op.batch, op.seed, op.first_branch);
}

}  // namespace capi
