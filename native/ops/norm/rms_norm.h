// y[i, :] = x[s(i), :] / rms(x[s(i), :]) * weight,   rms(v) = sqrt(mean(v^2) + eps)
//
// with s = map.source.
//
//   x       (source rows, D)  f32 | bf16, rows may be strided
//   weight  (1, D)            f32 or the dtype of x; null: 1 (CAPI's final norms are not affine)
//   y       (rows, D)         dtype of x, rows may be strided
//   rstd    (1, rows)         f32, saved for the backward pass; null: not saved
//
// backward, with h = x rstd, g = grad_y * weight and i running over the rows of grad_y:
//   grad_x[s(i), :] (+)= rstd (g - h mean(g h))     grad_weight = sum over i of grad_y h
//
//   grad_x       (source rows, D)  dtype of x, may be x or grad_y; rows that s misses stay
//   grad_y       (rows, D)         dtype of x
//   grad_weight  (1, D)            f32, overwritten; null: not wanted
//   y            (rows, D)         dtype of x: the forward output again, so that it need not be
//                                  kept; null: not wanted
//
// Sums are in f32, those of grad_weight over chunks of 64 rows, added in order. An image number
// outside the source makes a row of NaN, or no gradient. Source: METHOD "Block", torch.nn.RMSNorm.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"
#include "core/row_map.h"

namespace capi {

class DeviceQueue;
class Stream;

struct RmsNormForward {
  MatrixView x, weight, y, rstd;
  float eps;
  RowMap map;
};

struct RmsNormBackward {
  MatrixView x, weight, rstd, grad_y, grad_x, grad_weight, y;
  bool accumulate;
  RowMap map;
};

void rms_norm_forward(const RmsNormForward& op, Stream* stream);
void rms_norm_backward(const RmsNormBackward& op, Stream* stream);

CAPI_CPU_KERNEL(rms_norm_forward_cpu, RmsNormForward)
void rms_norm_forward_cuda(const RmsNormForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(rms_norm_backward_cpu, RmsNormBackward)
void rms_norm_backward_cuda(const RmsNormBackward& op, DeviceQueue& queue);

}  // namespace capi
