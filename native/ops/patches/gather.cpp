#include "ops/patches/gather.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void gather_rows(const GatherRows& op, Stream* stream) {
  const Expect expect("gather_rows");
  expect.present("x", op.x);
  expect.matrix("indices", op.indices, 1, op.indices.cols, Dtype::kI32);
  expect.matrix("y", op.y, op.indices.cols, op.x.cols, op.x.dtype);
  expect.same_backend({op.x, op.indices, op.y});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { gather_rows_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { gather_rows_cuda(op, stream->device()); });
  }
}

}  // namespace capi
