#include "ops/loss/soft_cross_entropy.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void soft_cross_entropy(const SoftCrossEntropy& op, Stream* stream) {
  const Expect expect("soft_cross_entropy");
  const MatrixView& logits = op.logits;
  expect.present("logits", logits);
  expect.floating("logits", logits);
  expect.contiguous("logits", logits);
  expect.that(logits.rows > 0 && logits.cols > 0, "logits with rows and columns",
              shape_text(logits), ErrorCode::kShapeMismatch);
  expect.that(op.temperature > 0 && op.temperature <= 1e30, "a positive temperature",
              std::to_string(op.temperature));
  expect.present("targets", op.targets);
  expect.floating("targets", op.targets);
  expect.shape("targets", op.targets, logits.rows, logits.cols);
  expect.contiguous("targets", op.targets);
  expect.matrix("loss", op.loss, 1, 1, Dtype::kF64);
  if (op.grad_logits) {
    expect.matrix("grad_logits", op.grad_logits, logits.rows, logits.cols, logits.dtype);
    expect.contiguous("grad_logits", op.grad_logits);
  }
  expect.same_backend({logits, op.targets, op.loss, op.grad_logits});
  switch (logits.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { soft_cross_entropy_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { soft_cross_entropy_cuda(op, stream->device()); });
  }
}

}  // namespace capi
