// z = alpha * op(A) op(B) [+ C] [+ bias],   c = gelu'd z [+ residual]
//
//   a         (m, k), or (k, m) when transpose_a     f32 | bf16
//   b         (k, n), or (n, k) when transpose_b     dtype of a
//   c         (m, n)                                 f32 | bf16; accumulate adds its old value
//   bias      (1, n)                                 f32 | bf16; may be null
//   residual  (m, n)                                 dtype of c; may be null; may be c itself
//   pre       (m, n)                                 dtype of c, for gelu (below)
//
// gelu is the exact one, z/2 (1 + erf(z/sqrt2)):
//   kForward    c = gelu(z); pre = z where given.
//   kBackward   c = z * gelu'(pre), then pre = gelu(pre): the gradient before the activation, and
//               the activation that the next weight gradient multiplies, so that only pre is kept
//               from the forward pass.
//
// Rows of every matrix may be strided. c must not overlap a or b. Sums are in f32 in an order that
// depends on k only, so results do not depend on the number of threads; c is rounded once, after
// the last product. On CUDA the order is that of the algorithm that cuBLASLt has for the shapes,
// strides, types and alignment: the same on every run with one GPU model and version of cuBLASLt.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

enum class GeluEpilogue : unsigned char { kNone, kForward, kBackward };

struct Gemm {
  MatrixView a, b, c;
  bool transpose_a = false;
  bool transpose_b = false;
  float alpha = 1.0f;
  bool accumulate = false;
  MatrixView bias = {};
  MatrixView residual = {};
  GeluEpilogue gelu = GeluEpilogue::kNone;
  MatrixView pre = {};
};

void gemm(const Gemm& op, Stream* stream);

CAPI_CPU_KERNEL(gemm_cpu, Gemm)
void gemm_cuda(const Gemm& op, DeviceQueue& queue);

}  // namespace capi
