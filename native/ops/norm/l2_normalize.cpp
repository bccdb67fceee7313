#include "ops/norm/l2_normalize.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void l2_normalize_forward(const L2NormalizeForward& op, Stream* stream) {
  const Expect expect("l2_normalize_forward");
  expect.present("x", op.x);
  expect.present("y", op.y);
  expect.floating("x", op.x);
  expect.floating("y", op.y);
  expect.shape("y", op.y, op.x.rows, op.x.cols);
  if (op.inv_norm) expect.matrix("inv_norm", op.inv_norm, 1, op.x.rows, Dtype::kF32);
  expect.that(op.eps > 0, "eps > 0", std::to_string(op.eps));
  expect.same_backend({op.x, op.y, op.inv_norm});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { l2_normalize_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { l2_normalize_forward_cuda(op, stream->device()); });
  }
}

void l2_normalize_backward(const L2NormalizeBackward& op, Stream* stream) {
  const Expect expect("l2_normalize_backward");
  expect.present("y", op.y);
  expect.floating("y", op.y);
  expect.matrix("inv_norm", op.inv_norm, 1, op.y.rows, Dtype::kF32);
  expect.matrix("grad_y", op.grad_y, op.y.rows, op.y.cols, op.y.dtype);
  expect.present("grad_x", op.grad_x);
  expect.floating("grad_x", op.grad_x);
  expect.shape("grad_x", op.grad_x, op.y.rows, op.y.cols);
  expect.same_backend({op.y, op.inv_norm, op.grad_y, op.grad_x});
  switch (op.y.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { l2_normalize_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { l2_normalize_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
