// Where the assignments of predicted patches go: the inverse of a list of patches, position-major.
//
//   predict      (1, P)                   i32, patches image * positions + position, distinct
//   target_rows  (1, positions * images)  i32, the index in `predict`, or -1, of each row
//                                         position * images + image
//
// The slice [p0 * images, p1 * images) serves sinkhorn_knopp_loss on positions [p0, p1).
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct TargetRows {
  MatrixView predict, target_rows;
  int64_t images, positions;
};

void target_rows(const TargetRows& op, Stream* stream);

void target_rows_cpu(const TargetRows& op);
void target_rows_cuda(const TargetRows& op, DeviceQueue& queue);

}  // namespace capi
