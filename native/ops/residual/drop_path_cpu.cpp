// A few thousand draws a step: scalar, compiled once.
#include "core/philox.h"
#include "ops/residual/drop_path.h"

namespace capi {

void drop_path_indices_cpu(const DropPathIndices& op) {
  for (int64_t branch = 0; branch < op.indices.rows; ++branch) {
    // 2^16 branches an iteration: see kMaxBranches at the front door.
    PhiloxSequence random{op.seed, static_cast<uint32_t>(RandomStream::kDropPath),
                          (static_cast<uint64_t>(op.iteration) << 16) |
                              static_cast<uint64_t>(op.first_branch + branch)};
    int32_t* kept = op.indices.as<int32_t>() + branch * op.indices.cols;
    int64_t needed = op.indices.cols;
    // Selection sampling: image i is taken with probability needed / (images left).
    for (int64_t image = 0; needed > 0; ++image) {
      if (random.below(static_cast<uint32_t>(op.batch - image)) < needed) {
        *kept++ = static_cast<int32_t>(image);
        --needed;
      }
    }
  }
}

}  // namespace capi
