// Numbers that tell whether clustering is healthy: entropy of targets, use of prototypes, collapse.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

// entropy = mean over rows of -sum_k A log A (0 log 0 = 0), mass[k] = mean over rows of A[:, k].
//
//   targets  (P, K)  f32 | bf16
//   entropy  (1, 1)  f32
//   mass     (1, K)  f32
//
// exp(entropy) is the number of prototypes a target spreads over; exp(entropy of mass) the
// effective number in use.
struct TargetStatistics {
  MatrixView targets, entropy, mass;
};

// Share of the variance of patch features that their position explains = between / total:
//   between = mean over positions of |mean over images - grand mean|^2
//   total   = mean over all rows of |x - grand mean|^2
//
//   features  (images * (registers + positions), D)  f32 | bf16, may be strided
//   result    (1, 2)                                 f64: between, total
//
// The registers come first in an image and are left out. Two passes in f64.
struct PositionalCollapse {
  MatrixView features, result;
  int64_t positions, registers;
};

void target_statistics(const TargetStatistics& op, Stream* stream);
void positional_collapse(const PositionalCollapse& op, Stream* stream);

CAPI_CPU_KERNEL(target_statistics_cpu, TargetStatistics)
void target_statistics_cuda(const TargetStatistics& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(positional_collapse_cpu, PositionalCollapse)
void positional_collapse_cuda(const PositionalCollapse& op, DeviceQueue& queue);

}  // namespace capi
