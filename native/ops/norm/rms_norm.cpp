#include "ops/norm/rms_norm.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void rms_norm_forward(const RmsNormForward& op, Stream* stream) {
  const Expect expect("rms_norm_forward");
  expect.present("x", op.x);
  expect.floating("x", op.x);
  expect.matrix("y", op.y, op.y.rows, op.x.cols, op.x.dtype);
  if (op.weight) {
    expect.shape("weight", op.weight, 1, op.x.cols);
    if (op.weight.dtype != Dtype::kF32) expect.dtype("weight", op.weight, op.x.dtype);
  }
  if (op.rstd) expect.matrix("rstd", op.rstd, 1, op.y.rows, Dtype::kF32);
  expect.that(op.eps >= 0, "eps >= 0", std::to_string(op.eps));
  expect.row_map("x", op.map, op.y.rows, op.x);
  expect.same_backend({op.x, op.weight, op.y, op.rstd, op.map.images});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { rms_norm_forward_cpu(op); });
    case Backend::kCuda:
      expect.cuda_unavailable();
  }
}

}  // namespace capi
