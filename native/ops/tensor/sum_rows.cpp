#include "ops/tensor/sum_rows.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void sum_rows(const SumRows& op, Stream* stream) {
  const Expect expect("sum_rows");
  expect.present("x", op.x);
  expect.floating("x", op.x);
  expect.matrix("y", op.y, 1, op.x.cols, Dtype::kF32);
  expect.same_backend({op.x, op.y});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { sum_rows_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { sum_rows_cuda(op, stream->device()); });
  }
}

}  // namespace capi
