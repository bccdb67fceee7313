#include "ops/norm/weight_norm.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void weight_norm_forward(const WeightNormForward& op, Stream* stream) {
  const Expect expect("weight_norm_forward");
  expect.matrix("v", op.v, op.v.rows, op.v.cols, Dtype::kF32);
  expect.contiguous("v", op.v);
  expect.matrix("g", op.g, op.v.rows, 1, Dtype::kF32);
  expect.contiguous("g", op.g);
  expect.present("weight", op.weight);
  expect.floating("weight", op.weight);
  expect.shape("weight", op.weight, op.v.rows, op.v.cols);
  expect.contiguous("weight", op.weight);
  expect.same_backend({op.v, op.g, op.weight});
  switch (op.v.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { weight_norm_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { weight_norm_forward_cuda(op, stream->device()); });
  }
}

void weight_norm_backward(const WeightNormBackward& op, Stream* stream) {
  const Expect expect("weight_norm_backward");
  expect.matrix("v", op.v, op.v.rows, op.v.cols, Dtype::kF32);
  expect.contiguous("v", op.v);
  expect.matrix("g", op.g, op.v.rows, 1, Dtype::kF32);
  expect.contiguous("g", op.g);
  expect.matrix("grad_weight", op.grad_weight, op.v.rows, op.v.cols, Dtype::kF32);
  expect.contiguous("grad_weight", op.grad_weight);
  expect.matrix("grad_v", op.grad_v, op.v.rows, op.v.cols, Dtype::kF32);
  expect.contiguous("grad_v", op.grad_v);
  expect.matrix("grad_g", op.grad_g, op.v.rows, 1, Dtype::kF32);
  expect.contiguous("grad_g", op.grad_g);
  expect.same_backend({op.v, op.g, op.grad_weight, op.grad_v, op.grad_g});
  switch (op.v.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { weight_norm_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { weight_norm_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
