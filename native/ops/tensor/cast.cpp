#include "ops/tensor/cast.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void cast(const Cast& op, Stream* stream) {
  const Expect expect("cast");
  expect.present("x", op.x);
  expect.present("y", op.y);
  expect.floating("x", op.x);
  expect.floating("y", op.y);
  expect.shape("y", op.y, op.x.rows, op.x.cols);
  expect.same_backend({op.x, op.y});
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { cast_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { cast_cuda(op, stream->device()); });
  }
}

}  // namespace capi
