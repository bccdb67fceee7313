// y[i, :] = x[s(i), :] / rms(x[s(i), :]) * weight,   rms(v) = sqrt(mean(v^2) + eps),   s =
// map.source
//
//   x       (source rows, D)  f32 | bf16, rows may be strided
//   weight  (1, D)            f32 or the dtype of x; null: 1 (CAPI's final norms are not affine)
//   y       (rows, D)         dtype of x, rows may be strided
//   rstd    (1, rows)         f32, saved for the backward pass; null: not saved
//
// Sums are in f32. Source: METHOD "Block", torch.nn.RMSNorm.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"
#include "core/row_map.h"

namespace capi {

class Stream;

struct RmsNormForward {
  MatrixView x, weight, y, rstd;
  float eps;
  RowMap map;
};

void rms_norm_forward(const RmsNormForward& op, Stream* stream);

CAPI_CPU_KERNEL(rms_norm_forward_cpu, RmsNormForward)

}  // namespace capi
