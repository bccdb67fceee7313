#include "ops/tensor/copy.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void zero(const Zero& op, Stream* stream) {
  const Expect expect("zero");
  expect.present("x", op.x);
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { zero_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { zero_cuda(op, stream->device()); });
  }
}

void copy(const Copy& op, Stream* stream) {
  const Expect expect("copy");
  expect.present("x", op.x);
  expect.matrix("y", op.y, op.x.rows, op.x.cols, op.x.dtype);
  expect.same_backend({op.x, op.y});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { copy_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { copy_cuda(op, stream->device()); });
  }
}

}  // namespace capi
