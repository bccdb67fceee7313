// y[j] = scale * sum over i of x[i, j]: the gradient of a bias.
//
//   x   (rows, cols)   f32 | bf16, rows may be strided
//   y   (1, cols)      f32
//
// Sums of 256 rows are added in order, so the result does not depend on the thread count.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct SumRows {
  MatrixView x, y;
  float scale = 1.0f;
};

void sum_rows(const SumRows& op, Stream* stream);

CAPI_CPU_KERNEL(sum_rows_cpu, SumRows)
void sum_rows_cuda(const SumRows& op, DeviceQueue& queue);

}  // namespace capi
