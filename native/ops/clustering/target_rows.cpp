#include "ops/clustering/target_rows.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void target_rows(const TargetRows& op, Stream* stream) {
  const Expect expect("target_rows");
  expect.that(op.images > 0 && op.positions > 0, "images and positions above 0",
              std::to_string(op.images) + " and " + std::to_string(op.positions));
  expect.matrix("predict", op.predict, 1, op.predict.cols, Dtype::kI32);
  expect.matrix("target_rows", op.target_rows, 1, op.images * op.positions, Dtype::kI32);
  expect.same_backend({op.predict, op.target_rows});
  switch (op.predict.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { target_rows_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { target_rows_cuda(op, stream->device()); });
  }
}

}  // namespace capi
