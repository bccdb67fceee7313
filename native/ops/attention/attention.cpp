#include "ops/attention/attention.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

// The checks that both directions share.
template <typename Op>
void check(const Expect& expect, const Op& op) {
  expect.present("q", op.q);
  expect.floating("q", op.q);
  expect.that(op.heads >= 1, "heads >= 1", std::to_string(op.heads));
  expect.that(op.n_q >= 1, "n_q >= 1", std::to_string(op.n_q));
  expect.that(op.n_k >= 1, "n_k >= 1", std::to_string(op.n_k));
  expect.that(
      op.q.cols > 0 && op.q.cols % op.heads == 0 && op.q.cols / op.heads % 4 == 0,
      "q of heads * d columns with d a multiple of 4 and " + std::to_string(op.heads) + " heads",
      shape_text(op.q), ErrorCode::kShapeMismatch);
  expect.that(op.q.rows > 0 && op.q.rows % op.n_q == 0,
              "q of images * " + std::to_string(op.n_q) + " rows", shape_text(op.q),
              ErrorCode::kShapeMismatch);
  const int64_t width = op.q.cols, d = width / op.heads, images = op.q.rows / op.n_q;
  if (op.q.backend == Backend::kCuda) {
    expect.that(d <= kMostCudaHeadDim,
                "at most " + std::to_string(kMostCudaHeadDim) + " channels a head on CUDA",
                std::to_string(d), ErrorCode::kShapeMismatch);
  }
  expect.present("k", op.k);
  expect.that(op.k.rows > 0 && op.k.rows % op.n_k == 0,
              "k of images * " + std::to_string(op.n_k) + " rows", shape_text(op.k),
              ErrorCode::kShapeMismatch);
  expect.matrix("k", op.k, op.context_images ? op.k.rows : images * op.n_k, width, op.q.dtype);
  expect.matrix("v", op.v, op.k.rows, width, op.q.dtype);
  expect.matrix("out", op.out, op.q.rows, width, op.q.dtype);
  if (op.lse) {
    expect.matrix("lse", op.lse, images * op.heads, op.n_q, Dtype::kF32);
    expect.contiguous("lse", op.lse);
  }
  if (op.images) {
    expect.matrix("images", op.images, 1, images, Dtype::kI32);
    expect.contiguous("images", op.images);
  }
  if (op.context_images) {
    expect.matrix("context_images", op.context_images, 1, images, Dtype::kI32);
    expect.contiguous("context_images", op.context_images);
  }
  if (op.rope == Rope::kNone) return;
  expect.present("q_coordinates", op.q_coordinates);
  expect.that(op.q_coordinates.rows > 0 && op.q_coordinates.rows % op.n_q == 0,
              "q_coordinates of images * " + std::to_string(op.n_q) + " rows",
              shape_text(op.q_coordinates), ErrorCode::kShapeMismatch);
  const int64_t all = op.images ? op.q_coordinates.rows / op.n_q : images;
  expect.matrix("q_coordinates", op.q_coordinates, all * op.n_q, 2, Dtype::kF32);
  expect.contiguous("q_coordinates", op.q_coordinates);
  expect.matrix("k_coordinates", op.k_coordinates, all * op.n_k, 2, Dtype::kF32);
  expect.contiguous("k_coordinates", op.k_coordinates);
  expect.matrix("frequencies", op.frequencies, 2, d, Dtype::kF32);
  expect.contiguous("frequencies", op.frequencies);
}

}  // namespace

void attention_forward(const AttentionForward& op, Stream* stream) {
  const Expect expect("attention_forward");
  check(expect, op);
  expect.same_backend({op.q, op.k, op.v, op.out, op.lse, op.q_coordinates, op.k_coordinates,
                       op.frequencies, op.images, op.context_images});
  switch (op.q.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { attention_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { attention_forward_cuda(op, stream->device()); });
  }
}

void attention_backward(const AttentionBackward& op, Stream* stream) {
  const Expect expect("attention_backward");
  check(expect, op);
  expect.present("lse", op.lse);
  expect.matrix("grad_out", op.grad_out, op.q.rows, op.q.cols, op.q.dtype);
  expect.matrix("grad_q", op.grad_q, op.q.rows, op.q.cols, op.q.dtype);
  expect.matrix("grad_k", op.grad_k, op.k.rows, op.k.cols, op.q.dtype);
  expect.matrix("grad_v", op.grad_v, op.v.rows, op.v.cols, op.q.dtype);
  if (op.grad_frequencies) {
    expect.matrix("grad_frequencies", op.grad_frequencies, 2, op.q.cols / op.heads, Dtype::kF32);
    expect.contiguous("grad_frequencies", op.grad_frequencies);
  }
  expect.same_backend({op.q, op.k, op.v, op.out, op.lse, op.grad_out, op.grad_q, op.grad_k,
                       op.grad_v, op.grad_frequencies, op.q_coordinates, op.k_coordinates,
                       op.frequencies, op.images, op.context_images});
  switch (op.q.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { attention_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { attention_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
