// weight[k,:] = v[k,:] * g[k] / (|v[k,:]| + eps): the student head's weight from its two
// parameters.
//
//   v, grad_v       (K, D)   f32, contiguous
//   g, grad_g       (K, 1)   f32
//   weight          (K, D)   f32 | bf16, contiguous
//   grad_weight     (K, D)   f32, contiguous
//
// backward, with n = |v|, s = g / (n + eps) and p = grad_weight . v:
//   grad_v = s grad_weight - v s p / (n (n + eps))   (the second term is 0 where n = 0)
//   grad_g = p / (n + eps)
// Both are overwritten; grad_v may be grad_weight.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct WeightNormForward {
  MatrixView v, g, weight;
  float eps = 1e-8f;
};
struct WeightNormBackward {
  MatrixView v, g, grad_weight, grad_v, grad_g;
  float eps = 1e-8f;
};

void weight_norm_forward(const WeightNormForward& op, Stream* stream);
void weight_norm_backward(const WeightNormBackward& op, Stream* stream);

CAPI_CPU_KERNEL(weight_norm_forward_cpu, WeightNormForward)
void weight_norm_forward_cuda(const WeightNormForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(weight_norm_backward_cpu, WeightNormBackward)
void weight_norm_backward_cuda(const WeightNormBackward& op, DeviceQueue& queue);

}  // namespace capi
