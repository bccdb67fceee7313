// The end of a residual branch, which under stochastic depth ran on some of the images only.
//
//   x, y, grad_y          (B*rows, D)    f32 | bf16, x and y of one dtype, rows may be strided
//   branch, grad_branch   (b*rows, D)    f32 | bf16, rows may be strided
//   images                (1, b)         i32, distinct, in [0, B); absent: all images, b = B
//
// forward:  y = x; y[image images[j]] += scale * branch[image j].    y may be x.
// gather:   grad_branch[image j] = scale * grad_y[image images[j]].
// An image number outside [0, B) is left out by forward and makes NaN in gather.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct ResidualForward {
  MatrixView x, branch, y;
  MatrixView images;   // optional
  int64_t rows = 0;    // of an image
  float scale = 1.0f;  // B / b
};
struct ResidualGather {
  MatrixView grad_y, grad_branch;
  MatrixView images;  // optional
  int64_t rows = 0;
  float scale = 1.0f;
};

void residual_forward(const ResidualForward& op, Stream* stream);
void residual_gather(const ResidualGather& op, Stream* stream);

CAPI_CPU_KERNEL(residual_forward_cpu, ResidualForward)
void residual_forward_cuda(const ResidualForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(residual_gather_cpu, ResidualGather)
void residual_gather_cuda(const ResidualGather& op, DeviceQueue& queue);

}  // namespace capi
