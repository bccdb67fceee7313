#include "ops/optim/finite.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void count_nonfinite(const CountNonfinite& op, Stream* stream) {
  const Expect expect("count_nonfinite");
  expect.present("x", op.x);
  if (op.x.dtype != Dtype::kF64) expect.floating("x", op.x);
  expect.contiguous("x", op.x);
  expect.matrix("count", op.count, 1, 1, Dtype::kI32);
  expect.same_backend({op.x, op.count});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { count_nonfinite_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { count_nonfinite_cuda(op, stream->device()); });
  }
}

}  // namespace capi
