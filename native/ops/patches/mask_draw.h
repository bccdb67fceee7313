// The mask of one image, for every backend: the same integers to the bit. Where doubles decide,
// each operation is one that IEEE 754 rounds correctly, and products that are summed are written as
// fma, so that no compiler can round them differently.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "ops/patches/masks.h"

namespace capi {

// What is common to the images of a batch.
struct MaskDraw {
  MaskKind kind;
  bool roll;
  int64_t grid_rows, grid_cols;
  int64_t n_masked, n_predict;
  uint64_t seed;
  double low, high;  // of the logarithm of the aspect
};

// Where the lists of one image begin; null where a list is not wanted, and `masked` is then too.
struct MaskLists {
  int32_t* visible;
  int32_t* masked;  // (n_masked), needed when n_predict > 0
  int32_t* predict;
};

// A box of the grid, shifted cyclically.
struct MaskBox {
  int64_t top, left;
  int64_t cols;
  int64_t cells;  // the first ones, row-major: the last row may be partial
};

MaskDraw mask_draw(const GenerateMasks& op);

// e^x to the last bit or two: libraries differ there, and a box of a whole number of cells may hang
// on it.
static constexpr double same_exp(double x) {
  const double power = std::floor(std::fma(x, 0x1.71547652b82fep+0, 0.5));  // of 2
  double rest = std::fma(power, -0x1.62e42fefa39efp-1, x);                  // minus power * ln 2
  rest = std::fma(power, -0x1.abc9e3b39803fp-56, rest);
  double sum = 1.0;  // 13 terms of the series: |rest| <= ln 2 / 2
  for (int term = 13; term > 0; --term) sum = std::fma(rest / term, sum, 1.0);
  return std::ldexp(sum, static_cast<int>(power));
}

// Smallest whole number in [1, side] at least the root of x, or side.
static constexpr int64_t whole_root(double x, int64_t side) {
  return static_cast<int64_t>(
      std::max(1.0, std::min(std::ceil(std::sqrt(x)), static_cast<double>(side))));
}

// A box of at least `cells`, of random aspect and place, within the grid unless it is rolled.
static constexpr MaskBox draw_box(PhiloxSequence& random, const MaskDraw& draw, int64_t cells) {
  if (cells == 0) return {0, 0, 1, 0};
  const double size = static_cast<double>(cells);
  const double aspect = same_exp(std::fma(draw.high - draw.low, random.uniform(), draw.low));
  // On narrow grids no aspect fits: then the box takes the whole side and grows along the other.
  int64_t cols = whole_root(size / aspect, draw.grid_cols);
  int64_t rows = whole_root(size * aspect, draw.grid_rows);
  cols = std::max(cols, (cells + rows - 1) / rows);
  if (cols > draw.grid_cols) {
    cols = draw.grid_cols;
    rows = (cells + cols - 1) / cols;
  }
  int64_t top = random.below(static_cast<uint32_t>(draw.grid_rows - rows + 1));
  int64_t left = random.below(static_cast<uint32_t>(draw.grid_cols - cols + 1));
  if (draw.roll) {
    top += random.below(static_cast<uint32_t>(draw.grid_rows));
    left += random.below(static_cast<uint32_t>(draw.grid_cols));
  }
  return {top % draw.grid_rows, left % draw.grid_cols, cols, cells};
}

// body(cell, whether the box holds it) for every cell of the grid, ascending.
template <typename Body>
static constexpr void for_cells(const MaskDraw& draw, const MaskBox& box, const Body& body) {
  int64_t cell = 0;
  for (int64_t row = 0; row < draw.grid_rows; ++row) {
    const int64_t down = row - box.top + (row < box.top ? draw.grid_rows : 0);
    for (int64_t col = 0; col < draw.grid_cols; ++col, ++cell) {
      const int64_t across = col - box.left + (col < box.left ? draw.grid_cols : 0);
      body(cell, across < box.cols && down * box.cols + across < box.cells);
    }
  }
}

// Fills the lists of an image, whose patches are numbered from `first` on.
static constexpr void draw_mask(const MaskDraw& draw, uint64_t sample, int64_t first,
                                MaskLists lists) {
  PhiloxSequence random{draw.seed, static_cast<uint32_t>(RandomStream::kMask), sample};
  const int64_t patches = draw.grid_rows * draw.grid_cols;
  int64_t seen = 0, hidden = 0;
  const auto put = [&](int64_t cell, bool masked) {
    const int32_t index = static_cast<int32_t>(first + cell);
    if (!masked) {
      lists.visible[seen++] = index;
    } else if (lists.masked != nullptr) {
      lists.masked[hidden++] = index;
    }
  };
  if (draw.kind == MaskKind::kUniform) {
    int64_t next = 0;
    choose(random, patches, draw.n_masked, [&](int64_t cell) {
      for (; next < cell; ++next) put(next, false);
      put(next++, true);
    });
    for (; next < patches; ++next) put(next, false);
  } else {
    const bool inside = draw.kind == MaskKind::kBlock;  // are masked
    const MaskBox box = draw_box(random, draw, inside ? draw.n_masked : patches - draw.n_masked);
    for_cells(draw, box, [&](int64_t cell, bool in_box) { put(cell, in_box == inside); });
  }
  int64_t chosen = 0;
  choose(random, draw.n_masked, draw.n_predict,
         [&](int64_t i) { lists.predict[chosen++] = lists.masked[i]; });
}

}  // namespace capi
