// One optimizer step over flat arenas, and the moving average of the result, in one pass
// (METHOD.md, section 7).
//
//   param, grad, m, v     (1, n)  f32
//   ema                   (1, n)  f32; null: no moving average
//   param_bf16, ema_bf16  (1, n)  bf16 copies of the results; null: none
//   segments              (S, 2)  i32: (offset, length), ascending and disjoint; elements of no
//                                 segment stay as they are
//   multipliers           (S, 2)  f32: of the segment's learning rate and weight decay
//   scalars               (1, 4)  f32: learning rate, weight decay, momentum, unused
//   step                  (1, 1)  i32: steps taken so far; incremented
//   nonfinite             (1, 1)  i32: when not 0 nothing changes, not even step; null: 0
//
//   p -= lr wd p
//   m = beta1 m + (1 - beta1) g
//   v = beta2 v + (1 - beta2) g^2
//   p -= lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)
//   ema = momentum ema + (1 - momentum) p
//
// A learning-rate multiplier of 0 leaves p as it is. Bias corrections are in f64.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct AdamwEma {
  MatrixView param, grad, m, v;
  MatrixView ema, param_bf16, ema_bf16;  // optional
  MatrixView segments, multipliers, scalars, step;
  MatrixView nonfinite;  // optional
  double beta1, beta2, eps;
};

void adamw_ema(const AdamwEma& op, Stream* stream);

CAPI_CPU_KERNEL(adamw_ema_cpu, AdamwEma)
void adamw_ema_cuda(const AdamwEma& op, DeviceQueue& queue);

}  // namespace capi
