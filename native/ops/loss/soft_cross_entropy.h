// loss = mean over rows of -sum_k targets log_softmax(logits / temperature), and its gradient for
// the logits.
//
//   logits       (n, K)  f32 | bf16
//   targets      (n, K)  f32 | bf16, constants; a row may sum to less than 1 and is used as it is
//   loss         (1, 1)  f64: f32 row losses, summed in f64 in a fixed order
//   grad_logits  (n, K)  dtype of logits, may be the logits themselves; null: not wanted
//
// grad_logits = (softmax(logits / temperature) * sum_k targets - targets) / (temperature * n).
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct SoftCrossEntropy {
  MatrixView logits, targets, loss, grad_logits;
  double temperature;
};

void soft_cross_entropy(const SoftCrossEntropy& op, Stream* stream);

CAPI_CPU_KERNEL(soft_cross_entropy_cpu, SoftCrossEntropy)
void soft_cross_entropy_cuda(const SoftCrossEntropy& op, DeviceQueue& queue);

}  // namespace capi
