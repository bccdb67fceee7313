// y = x in another float type, rounded to nearest even; NaN stays NaN.
//
//   x   (rows, cols)   f32 | bf16, rows may be strided
//   y   (rows, cols)   f32 | bf16, rows may be strided
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct Cast {
  MatrixView x, y;
};

void cast(const Cast& op, Stream* stream);

CAPI_CPU_KERNEL(cast_cpu, Cast)
void cast_cuda(const Cast& op, DeviceQueue& queue);

}  // namespace capi
