#include "ops/attention/rope.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

// The checks that both directions share.
template <typename Op>
void check(const Expect& expect, const Op& op) {
  expect.present("x", op.x);
  expect.floating("x", op.x);
  expect.that(op.rope != Rope::kNone, "rope coupled or axial", "none");
  expect.that(op.heads >= 1, "heads >= 1", std::to_string(op.heads));
  expect.that(
      op.x.cols > 0 && op.x.cols % op.heads == 0 && op.x.cols / op.heads % 4 == 0,
      "x of heads * d columns with d a multiple of 4 and " + std::to_string(op.heads) + " heads",
      shape_text(op.x), ErrorCode::kShapeMismatch);
  expect.matrix("coordinates", op.coordinates, op.x.rows, 2, Dtype::kF32);
  expect.contiguous("coordinates", op.coordinates);
  expect.matrix("frequencies", op.frequencies, 2, op.x.cols / op.heads, Dtype::kF32);
  expect.contiguous("frequencies", op.frequencies);
}

}  // namespace

void rope_forward(const RopeForward& op, Stream* stream) {
  const Expect expect("rope_forward");
  check(expect, op);
  expect.matrix("y", op.y, op.x.rows, op.x.cols, Dtype::kF32);
  expect.same_backend({op.x, op.y, op.coordinates, op.frequencies});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { rope_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { rope_forward_cuda(op, stream->device()); });
  }
}

void rope_backward(const RopeBackward& op, Stream* stream) {
  const Expect expect("rope_backward");
  check(expect, op);
  expect.matrix("grad_y", op.grad_y, op.x.rows, op.x.cols, Dtype::kF32);
  expect.matrix("grad_x", op.grad_x, op.x.rows, op.x.cols, op.x.dtype);
  if (op.grad_frequencies) {
    expect.matrix("grad_frequencies", op.grad_frequencies, 2, op.x.cols / op.heads, Dtype::kF32);
    expect.contiguous("grad_frequencies", op.grad_frequencies);
  }
  expect.same_backend(
      {op.x, op.grad_y, op.grad_x, op.grad_frequencies, op.coordinates, op.frequencies});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { rope_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { rope_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
