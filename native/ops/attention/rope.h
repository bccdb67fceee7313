// Rotary position encoding of rows alone, by the code that attention applies to queries and keys
// while it stages them (attention.h has the equations).
//
//   x                 (n, heads * d)   f32 | bf16, rows may be strided; d a multiple of 4
//   y, grad_y         (n, heads * d)   f32, rows may be strided
//   grad_x            (n, heads * d)   dtype of x, rows may be strided; may be x
//   coordinates       (n, 2)           f32, shared by the heads
//   frequencies       (2, d)           f32: angle = coordinates @ frequencies
//   grad_frequencies  (2, d)           f32, overwritten; may be absent
//
// forward: y = rope(x); backward: its transpose, and the gradient of the frequencies.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"
#include "ops/attention/attention.h"

namespace capi {

class DeviceQueue;

struct RopeForward {
  MatrixView x, y, coordinates, frequencies;
  int64_t heads = 1;
  Rope rope = Rope::kCoupled;
};

struct RopeBackward {
  MatrixView x, grad_y, grad_x, grad_frequencies, coordinates, frequencies;
  int64_t heads = 1;
  Rope rope = Rope::kCoupled;
};

void rope_forward(const RopeForward& op, Stream* stream);
void rope_backward(const RopeBackward& op, Stream* stream);

CAPI_CPU_KERNEL(rope_forward_cpu, RopeForward)
void rope_forward_cuda(const RopeForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(rope_backward_cpu, RopeBackward)
void rope_backward_cuda(const RopeBackward& op, DeviceQueue& queue);

}  // namespace capi
