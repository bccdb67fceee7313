#include "ops/norm/rms_norm.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

void check_weight(const Expect& expect, const MatrixView& weight, const MatrixView& x) {
  if (!weight) return;
  expect.shape("weight", weight, 1, x.cols);
  if (weight.dtype != Dtype::kF32) expect.dtype("weight", weight, x.dtype);
}

}  // namespace

void rms_norm_forward(const RmsNormForward& op, Stream* stream) {
  const Expect expect("rms_norm_forward");
  expect.present("x", op.x);
  expect.floating("x", op.x);
  expect.matrix("y", op.y, op.y.rows, op.x.cols, op.x.dtype);
  check_weight(expect, op.weight, op.x);
  if (op.rstd) expect.matrix("rstd", op.rstd, 1, op.y.rows, Dtype::kF32);
  expect.that(op.eps >= 0, "eps >= 0", std::to_string(op.eps));
  expect.row_map("x", op.map, op.y.rows, op.x);
  expect.same_backend({op.x, op.weight, op.y, op.rstd, op.map.images});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { rms_norm_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { rms_norm_forward_cuda(op, stream->device()); });
  }
}

void rms_norm_backward(const RmsNormBackward& op, Stream* stream) {
  const Expect expect("rms_norm_backward");
  expect.present("x", op.x);
  expect.floating("x", op.x);
  check_weight(expect, op.weight, op.x);
  expect.matrix("grad_y", op.grad_y, op.grad_y.rows, op.x.cols, op.x.dtype);
  expect.matrix("rstd", op.rstd, 1, op.grad_y.rows, Dtype::kF32);
  expect.matrix("grad_x", op.grad_x, op.x.rows, op.x.cols, op.x.dtype);
  if (op.grad_weight) expect.matrix("grad_weight", op.grad_weight, 1, op.x.cols, Dtype::kF32);
  if (op.y) expect.matrix("y", op.y, op.grad_y.rows, op.x.cols, op.x.dtype);
  expect.row_map("x", op.map, op.grad_y.rows, op.x);
  expect.same_backend(
      {op.x, op.weight, op.rstd, op.grad_y, op.grad_x, op.grad_weight, op.y, op.map.images});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { rms_norm_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { rms_norm_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
