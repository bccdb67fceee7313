// A few thousand points a step: scalar, compiled once.
#include <algorithm>

#include "ops/patches/coordinates.h"

namespace capi {

namespace {

struct Point {
  float row, col;
};

Point edge_point(int64_t number, int64_t registers) {
  const int64_t side = registers / 4;
  const float t = static_cast<float>(number % side) / static_cast<float>(side);
  switch (number / side) {
    case 0:
      return {t, 0};
    case 1:
      return {1, t};
    case 2:
      return {1 - t, 1};
    default:
      return {0, 1 - t};
  }
}

float along(int64_t place, int64_t side) {
  return side == 1 ? 0.0f : static_cast<float>(place) / static_cast<float>(side - 1);
}

}  // namespace

void coordinates_cpu(const Coordinates& op) {
  const int64_t patches = op.grid_rows * op.grid_cols;
  int64_t images = 1, n = patches;
  if (!op.indices) {
    images = op.out.rows / (op.registers + patches);
  } else {
    if (op.registers > 0) images = (op.out.rows - op.indices.cols) / op.registers;
    n = op.indices.cols / images;
  }
  float* out = op.out.as<float>();
  for (int64_t image = 0; image < images; ++image) {
    float* registers = out;
    out += 2 * op.registers;
    Point low = {1, 1}, high = {0, 0};
    for (int64_t i = 0; i < n; ++i, out += 2) {
      const int64_t patch = (op.indices ? op.indices.as<int32_t>()[image * n + i] : i) % patches;
      const Point at = {along(patch / op.grid_cols, op.grid_rows),
                        along(patch % op.grid_cols, op.grid_cols)};
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
