#include "ops/tensor/fill_random.h"

#include <cmath>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void fill_random(const FillRandom& op, Stream* stream) {
  const Expect expect("fill_random");
  expect.present("x", op.x);
  expect.floating("x", op.x);
  expect.contiguous("x", op.x);
  expect.that(std::isfinite(op.scale) && op.scale >= 0, "a finite scale >= 0",
              std::to_string(op.scale));
  expect.that(op.stream >= 0 && op.stream < (int64_t{1} << 32), "stream in [0, 2^32)",
              std::to_string(op.stream));
  switch (op.x.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { fill_random_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { fill_random_cuda(op, stream->device()); });
  }
}

}  // namespace capi
