// A few thousand draws a step: scalar, compiled once.
#include "ops/residual/drop_path.h"
#include "ops/residual/drop_path_draw.h"

namespace capi {

void drop_path_indices_cpu(const DropPathIndices& op) {
  for (int64_t branch = 0; branch < op.indices.rows; ++branch) {
    draw_branch(op.indices.as<int32_t>() + branch * op.indices.cols, op.indices.cols, op.batch,
                op.seed, *op.iteration.as<uint32_t>(), op.first_branch + branch);
  }
}

}  // namespace capi
