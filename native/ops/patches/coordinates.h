// Coordinates in [0, 1]^2 of the tokens of every image: registers first, then patches (METHOD.md,
// section 4).
//
//   out       (B*(R+n), 2)   f32, contiguous: (row, column)
//   indices   (1, B*n)       i32 into the flattened batch [0, B*N), image-major; absent: all, n = N
//
// Patch (r, c) of the grid is at (r/(rows-1), c/(cols-1)); a side of one patch is at 0. Registers
// walk the edge of the square clockwise from (0, 0), R/4 a side, or all stand at (0, 0). With
// scale_to_visible they are mapped into the box (min..max by axis) of their image's n patch
// coordinates.
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

enum class RegisterKind : uint8_t { kEdge, kZeros };

struct Coordinates {
  MatrixView out;
  MatrixView indices;  // optional
  int64_t grid_rows = 0, grid_cols = 0;
  int64_t registers = 0;
  RegisterKind register_kind = RegisterKind::kEdge;
  bool scale_to_visible = true;
};

// Images, and patches of each.
struct CoordinatesLayout {
  int64_t images, patches;
};
CoordinatesLayout coordinates_layout(const Coordinates& op);

void coordinates(const Coordinates& op, Stream* stream);

void coordinates_cpu(const Coordinates& op);
void coordinates_cuda(const Coordinates& op, DeviceQueue& queue);

}  // namespace capi
