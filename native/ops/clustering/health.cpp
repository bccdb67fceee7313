#include "ops/clustering/health.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void target_statistics(const TargetStatistics& op, Stream* stream) {
  const Expect expect("target_statistics");
  expect.present("targets", op.targets);
  expect.floating("targets", op.targets);
  expect.contiguous("targets", op.targets);
  expect.that(op.targets.rows > 0 && op.targets.cols > 0, "targets with rows and columns",
              shape_text(op.targets), ErrorCode::kShapeMismatch);
  expect.matrix("entropy", op.entropy, 1, 1, Dtype::kF32);
  expect.matrix("mass", op.mass, 1, op.targets.cols, Dtype::kF32);
  expect.same_backend({op.targets, op.entropy, op.mass});
  switch (op.targets.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { target_statistics_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { target_statistics_cuda(op, stream->device()); });
  }
}

void positional_collapse(const PositionalCollapse& op, Stream* stream) {
  const Expect expect("positional_collapse");
  expect.present("features", op.features);
  expect.floating("features", op.features);
  expect.that(op.positions > 0 && op.registers >= 0, "positions above 0 and no negative registers",
              std::to_string(op.positions) + " and " + std::to_string(op.registers));
  expect.that(
      op.features.rows > 0 && op.features.cols > 0 &&
          op.features.rows % (op.registers + op.positions) == 0,
      "features with rows in whole images of " + std::to_string(op.registers + op.positions),
      shape_text(op.features), ErrorCode::kShapeMismatch);
  expect.matrix("result", op.result, 1, 2, Dtype::kF64);
  expect.same_backend({op.features, op.result});
  switch (op.features.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { positional_collapse_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { positional_collapse_cuda(op, stream->device()); });
  }
}

}  // namespace capi
