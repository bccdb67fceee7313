// The image at `index` of a pseudo-random order of `count` images: a bijection of [0, count) for
// each (seed, epoch), computed without storing the order.
#pragma once

#include <cstdint>

namespace capi {

struct PermuteIndex {
  uint64_t seed;
  uint64_t epoch;  // < 2^32
  uint64_t index;  // < count
  uint64_t count;  // <= 2^52
};

uint64_t permute_index(const PermuteIndex& op);

}  // namespace capi
