// y[i,:] = x[indices[i],:].
//
//   x         (rows, cols)    any dtype, rows may be strided
//   indices   (1, n)          i32 in [0, rows); one outside makes a row of NaN (integers: 0)
//   y         (n, cols)       dtype of x, rows may be strided, does not overlap x
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct GatherRows {
  MatrixView x, indices, y;
};

void gather_rows(const GatherRows& op, Stream* stream);

void gather_rows_cpu(const GatherRows& op);
void gather_rows_cuda(const GatherRows& op, DeviceQueue& queue);

}  // namespace capi
