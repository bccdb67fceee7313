#include "ops/optim/adamw.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void adamw_ema(const AdamwEma& op, Stream* stream) {
  const Expect expect("adamw_ema");
  const int64_t n = op.param.cols;
  const auto arena = [&](const char* name, const MatrixView& view, Dtype dtype) {
    expect.matrix(name, view, 1, n, dtype);
  };
  arena("param", op.param, Dtype::kF32);
  arena("grad", op.grad, Dtype::kF32);
  arena("m", op.m, Dtype::kF32);
  arena("v", op.v, Dtype::kF32);
  if (op.ema) arena("ema", op.ema, Dtype::kF32);
  if (op.param_bf16) arena("param_bf16", op.param_bf16, Dtype::kBF16);
  if (op.ema_bf16) {
    expect.present("ema beside ema_bf16", op.ema);
    arena("ema_bf16", op.ema_bf16, Dtype::kBF16);
  }
  expect.that(n < (int64_t{1} << 31), "fewer than 2^31 elements", std::to_string(n),
              ErrorCode::kShapeMismatch);
  expect.matrix("segments", op.segments, op.segments.rows, 2, Dtype::kI32);
  expect.contiguous("segments", op.segments);
  expect.matrix("multipliers", op.multipliers, op.segments.rows, 2, Dtype::kF32);
  expect.contiguous("multipliers", op.multipliers);
  expect.matrix("scalars", op.scalars, 1, 4, Dtype::kF32);
  expect.matrix("step", op.step, 1, 1, Dtype::kI32);
  if (op.nonfinite) expect.matrix("nonfinite", op.nonfinite, 1, 1, Dtype::kI32);
  expect.that(op.beta1 >= 0 && op.beta1 < 1 && op.beta2 >= 0 && op.beta2 < 1, "betas in [0, 1)",
              std::to_string(op.beta1) + ", " + std::to_string(op.beta2));
  expect.that(op.eps >= 0, "eps >= 0", std::to_string(op.eps));
  expect.same_backend({op.param, op.grad, op.m, op.v, op.ema, op.param_bf16, op.ema_bf16,
                       op.segments, op.multipliers, op.scalars, op.step, op.nonfinite});
  switch (op.param.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { adamw_ema_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { adamw_ema_cuda(op, stream->device()); });
  }
}

}  // namespace capi
