// Of 256 possible pixels each has one normalised value: a table a channel, so that the inner loop
// only moves.
#include "ops/image/patchify.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {
namespace {

// One row of patches: `patch` pixel rows, cut every `patch` columns.
template <typename T>
static inline void patch_row(const Patchify& op, const T (*table)[256], int64_t image,
                             int64_t patch_row) {
  const int64_t patch = op.patch, across = op.width / patch, area = patch * patch;
  const bool flip = op.flips && op.flips.as<uint8_t>()[image] != 0;
  const int64_t down = op.height / patch;
  T* out = op.out.as<T>() + (image * down + patch_row) * across * 3 * area;
  const uint8_t* pixels =
      op.images.as<uint8_t>() + (image * op.height + patch_row * patch) * op.width * 3;
  for (int64_t y = 0; y < patch; ++y) {
    const uint8_t* from = pixels + y * op.width * 3 + (flip ? (op.width - 1) * 3 : 0);
    const int64_t step = flip ? -3 : 3;
    for (int64_t p = 0; p < across; ++p) {
      T* to = out + p * 3 * area + y * patch;
      for (int64_t x = 0; x < patch; ++x, from += step) {
        to[x] = table[0][from[0]];
        to[x + area] = table[1][from[1]];
        to[x + 2 * area] = table[2][from[2]];
      }
    }
  }
}

template <typename T>
static inline void run(const Patchify& op) {
  T table[3][256];
  for (int channel = 0; channel < 3; ++channel) {
    for (int value = 0; value < 256; ++value) {
      set(&table[channel][value], normalized(value, channel));
    }
  }
  const int64_t down = op.height / op.patch;
  parallel_for(op.images.rows, [&](int64_t image, int) {
    for (int64_t row = 0; row < down; ++row) patch_row<T>(op, table, image, row);
  });
}

}  // namespace

void patchify_cpu(const Patchify& op) {
  if (op.out.dtype == Dtype::kBF16) {
    run<bf16>(op);
  } else {
    run<float>(op);
  }
}

}  // namespace capi::CAPI_ISA
