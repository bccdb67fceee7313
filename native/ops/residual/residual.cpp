#include "ops/residual/residual.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

// `whole` holds all images, `part` those of the branch.
void check_images(const Expect& expect, const char* part_name, const MatrixView& whole,
                  const MatrixView& part, const MatrixView& images, int64_t rows) {
  expect.that(rows > 0 && whole.rows % rows == 0, "rows of an image to divide the matrix's rows",
              std::to_string(rows) + " for " + shape_text(whole));
  if (images) {
    expect.matrix("images", images, 1, images.cols, Dtype::kI32);
    expect.that(images.cols <= whole.rows / rows,
                "at most " + std::to_string(whole.rows / rows) + " images",
                std::to_string(images.cols), ErrorCode::kShapeMismatch);
  }
  expect.shape(part_name, part, images ? images.cols * rows : whole.rows, whole.cols);
}

}  // namespace

void residual_forward(const ResidualForward& op, Stream* stream) {
  const Expect expect("residual_forward");
  expect.present("x", op.x);
  expect.present("branch", op.branch);
  expect.floating("x", op.x);
  expect.floating("branch", op.branch);
  expect.matrix("y", op.y, op.x.rows, op.x.cols, op.x.dtype);
  check_images(expect, "branch", op.x, op.branch, op.images, op.rows);
  expect.same_backend({op.x, op.branch, op.y, op.images});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { residual_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { residual_forward_cuda(op, stream->device()); });
  }
}

void residual_gather(const ResidualGather& op, Stream* stream) {
  const Expect expect("residual_gather");
  expect.present("grad_y", op.grad_y);
  expect.present("grad_branch", op.grad_branch);
  expect.floating("grad_y", op.grad_y);
  expect.floating("grad_branch", op.grad_branch);
  check_images(expect, "grad_branch", op.grad_y, op.grad_branch, op.images, op.rows);
  expect.same_backend({op.grad_y, op.grad_branch, op.images});
  switch (op.grad_y.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { residual_gather_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { residual_gather_cuda(op, stream->device()); });
  }
}

}  // namespace capi
