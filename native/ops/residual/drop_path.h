// Which images each residual branch of a step runs on ("efficient" stochastic depth).
//
//   indices    (branches, n_keep)  i32: rows are independent uniform subsets of [0, batch),
//                                  ascending
//   iteration  (1, 1)              i32, read when the op runs: a captured step draws anew each time
//
// A function of (seed, iteration, branch) alone; row i is branch first_branch + i.
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct DropPathIndices {
  MatrixView indices, iteration;
  int64_t batch = 0;
  uint64_t seed = 0;
  int64_t first_branch = 0;
};

void drop_path_indices(const DropPathIndices& op, Stream* stream);

void drop_path_indices_cpu(const DropPathIndices& op);
void drop_path_indices_cuda(const DropPathIndices& op, DeviceQueue& queue);

}  // namespace capi
