// y = x / max(|x|, eps) by rows.
//
//   x, grad_x   (rows, dim)   f32 | bf16, rows may be strided
//   y, grad_y   (rows, dim)   f32 | bf16, rows may be strided
//   inv_norm    (1, rows)     f32, saved for the backward: 1 / |x|, or -1 / eps where |x| < eps
//
// backward: grad_x = (grad_y - y (grad_y . y)) / |x|, and grad_y / eps for a row shorter than eps,
// whose scale does not depend on x. grad_x may be grad_y. Sums are in f32.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct L2NormalizeForward {
  MatrixView x, y;
  MatrixView inv_norm;  // optional
  float eps = 1e-12f;
};
struct L2NormalizeBackward {
  MatrixView y, inv_norm, grad_y, grad_x;
};

void l2_normalize_forward(const L2NormalizeForward& op, Stream* stream);
void l2_normalize_backward(const L2NormalizeBackward& op, Stream* stream);

CAPI_CPU_KERNEL(l2_normalize_forward_cpu, L2NormalizeForward)
void l2_normalize_forward_cuda(const L2NormalizeForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(l2_normalize_backward_cpu, L2NormalizeBackward)
void l2_normalize_backward_cuda(const L2NormalizeBackward& op, DeviceQueue& queue);

}  // namespace capi
