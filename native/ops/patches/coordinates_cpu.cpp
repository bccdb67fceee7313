// A few thousand points a step: scalar, compiled once.
#include <algorithm>

#include "ops/patches/coordinates.h"
#include "ops/patches/coordinates_points.h"

namespace capi {

void coordinates_cpu(const Coordinates& op) {
  const int64_t patches = op.grid_rows * op.grid_cols;
  const auto [images, n] = coordinates_layout(op);
  float* out = op.out.as<float>();
  for (int64_t image = 0; image < images; ++image) {
    float* registers = out;
    out += 2 * op.registers;
    Point low = {1, 1}, high = {0, 0};
    for (int64_t i = 0; i < n; ++i, out += 2) {
      const int64_t patch = (op.indices ? op.indices.as<int32_t>()[image * n + i] : i) % patches;
      const Point at = patch_point(patch, op.grid_rows, op.grid_cols);
      low = {std::min(low.row, at.row), std::min(low.col, at.col)};
      high = {std::max(high.row, at.row), std::max(high.col, at.col)};
      out[0] = at.row;
      out[1] = at.col;
    }
    if (!op.scale_to_visible || n == 0) low = {0, 0}, high = {1, 1};
    for (int64_t i = 0; i < op.registers; ++i) {
      const Point at =
          op.register_kind == RegisterKind::kEdge ? edge_point(i, op.registers) : Point{0, 0};
      registers[2 * i] = low.row + at.row * (high.row - low.row);
      registers[2 * i + 1] = low.col + at.col * (high.col - low.col);
    }
  }
}

}  // namespace capi
