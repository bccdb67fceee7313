// A stripe of columns at a time, whose f64 sums stay in cache while the partial rows pass by.
#include "ops/clustering/chunk_sums_cpu.h"

#include "core/thread_pool.h"
#include "ops/clustering/sinkhorn_groups_cpu.h"

namespace capi::CAPI_ISA::sinkhorn {

void add_partials(const float* partials, int64_t count, int64_t stride, int64_t begin, int64_t end,
                  bool accumulate, float* into) {
  constexpr int kWidth = 64;
  double total[kWidth];
  for (int64_t base = begin; base < end; base += kWidth) {
    const int width = static_cast<int>(smaller(kWidth, end - base));
    for (int k = 0; k < width; ++k) {
      total[k] = accumulate ? static_cast<double>(into[base + k]) : 0.0;
    }
    for (int64_t i = 0; i < count; ++i) {
      const float* partial = partials + i * stride + base;
      for (int k = 0; k < width; ++k) total[k] += static_cast<double>(partial[k]);
    }
    for (int k = 0; k < width; ++k) into[base + k] = static_cast<float>(total[k]);
  }
}

void add_partials_of_groups(const float* partials, int64_t groups, int64_t chunks, int64_t columns,
                            bool accumulate, float* into) {
  const int64_t stride = scratch_stride(columns), stripes = ceil_div(columns, kStripe);
  parallel_for(groups * stripes, [&](int64_t task, int) {
    const int64_t g = task / stripes, begin = task % stripes * kStripe;
    add_partials(partials + g * chunks * stride, chunks, stride, begin,
                 smaller(begin + kStripe, columns), accumulate, into + g * columns);
  });
}

}  // namespace capi::CAPI_ISA::sinkhorn
