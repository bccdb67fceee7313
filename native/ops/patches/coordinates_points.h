// Where patches and registers stand, for every backend.
#pragma once

#include <cstdint>

namespace capi {

struct Point {
  float row, col;
};

// Register `number` on its walk along the edge of the unit square.
static constexpr Point edge_point(int64_t number, int64_t registers) {
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

static constexpr Point patch_point(int64_t patch, int64_t grid_rows, int64_t grid_cols) {
  const auto along = [](int64_t place, int64_t side) {
    return side == 1 ? 0.0f : static_cast<float>(place) / static_cast<float>(side - 1);
  };
  return {along(patch / grid_cols, grid_rows), along(patch % grid_cols, grid_cols)};
}

}  // namespace capi
