#include "ops/residual/drop_path.h"

#include "core/expect.h"
#include "core/stream.h"
#include "ops/residual/drop_path_draw.h"

namespace capi {

void drop_path_indices(const DropPathIndices& op, Stream* stream) {
  const Expect expect("drop_path_indices");
  expect.matrix("indices", op.indices, op.indices.rows, op.indices.cols, Dtype::kI32);
  expect.contiguous("indices", op.indices);
  expect.matrix("iteration", op.iteration, 1, 1, Dtype::kI32);
  expect.that(op.first_branch >= 0 && op.first_branch + op.indices.rows <= kMaxBranches,
              "branches in [0, 65536)",
              std::to_string(op.indices.rows) + " from " + std::to_string(op.first_branch));
  expect.that(op.batch >= op.indices.cols && op.batch < (int64_t{1} << 31),
              "a batch of at least " + std::to_string(op.indices.cols) + " images",
              std::to_string(op.batch));
  expect.same_backend({op.indices, op.iteration});
  switch (op.indices.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { drop_path_indices_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { drop_path_indices_cuda(op, stream->device()); });
  }
}

}  // namespace capi
