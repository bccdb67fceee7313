// The images of one branch, for every backend: the same integers.
#pragma once

#include "core/philox.h"

namespace capi {

constexpr int64_t kMaxBranches = 1 << 16;

// `branch` < kMaxBranches, numbered over all rows of a step.
static constexpr void draw_branch(int32_t* kept, int64_t n_keep, int64_t batch, uint64_t seed,
                                  uint32_t iteration, int64_t branch) {
  const uint64_t counter = uint64_t{iteration} * kMaxBranches + static_cast<uint64_t>(branch);
  PhiloxSequence random{seed, static_cast<uint32_t>(RandomStream::kDropPath), counter};
  choose(random, batch, n_keep, [&](int64_t image) { *kept++ = static_cast<int32_t>(image); });
}

}  // namespace capi
