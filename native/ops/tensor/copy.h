// Plain movement of bytes.
//
//   zero   x = 0            x any shape and dtype, rows may be strided
//   copy   y = x            x, y one shape and dtype, rows may be strided; they do not overlap
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct Zero {
  MatrixView x;
};
struct Copy {
  MatrixView x, y;
};

void zero(const Zero& op, Stream* stream);
void copy(const Copy& op, Stream* stream);

void zero_cpu(const Zero& op);
void zero_cuda(const Zero& op, DeviceQueue& queue);
void copy_cpu(const Copy& op);
void copy_cuda(const Copy& op, DeviceQueue& queue);

}  // namespace capi
