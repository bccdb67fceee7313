// count = number of elements of x that are infinite or NaN, at most 2^31 - 1; with accumulate it is
// added to count.
//
//   x      (rows, cols)  f32 | bf16 | f64, contiguous
//   count  (1, 1)        i32
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct CountNonfinite {
  MatrixView x, count;
  bool accumulate;
};

void count_nonfinite(const CountNonfinite& op, Stream* stream);

CAPI_CPU_KERNEL(count_nonfinite_cpu, CountNonfinite)
void count_nonfinite_cuda(const CountNonfinite& op, DeviceQueue& queue);

}  // namespace capi
