// Scalar and compiled once: a mask costs about as much as its random numbers.
#include "ops/patches/masks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/philox.h"
#include "core/thread_pool.h"

namespace capi {

namespace {

struct Grid {
  int64_t rows, cols;
};

// Calls take(i) for `needed` of the numbers [0, n), every subset equally likely, ascending: number
// i is taken with probability needed / (numbers left).
template <typename Take>
void choose(PhiloxSequence& random, int64_t n, int64_t needed, const Take& take) {
  for (int64_t i = 0; needed > 0; ++i) {
    if (random.below(static_cast<uint32_t>(n - i)) < needed) {
      take(i);
      --needed;
    }
  }
}

// Rows and columns of a box of at least `cells`, which fits the grid.
Grid box_for(PhiloxSequence& random, const GenerateMasks& op, int64_t cells) {
  const double rows = static_cast<double>(op.grid_rows), cols = static_cast<double>(op.grid_cols);
  const double size = static_cast<double>(cells);
  const double low = std::max(std::log(op.min_aspect), std::log(size / (cols * cols)));
  // 1e-5 keeps the height of the tallest box from being rounded above the grid's.
  const double high = std::min(std::log(op.max_aspect), std::log(rows * rows / (size + 1e-5)));
  const double aspect = std::exp(random.uniform(low, high));
  const auto whole = [](double x) { return static_cast<int64_t>(std::ceil(x)); };
  // On narrow grids no aspect fits: then the box takes the whole side and grows along the other.
  const int64_t width = std::min(whole(std::sqrt(size / aspect)), op.grid_cols);
  const int64_t height = std::min(whole(std::sqrt(size * aspect)), op.grid_rows);
  const int64_t wide = std::max(width, (cells + height - 1) / height);
  if (wide <= op.grid_cols) return {height, wide};
  return {(cells + op.grid_cols - 1) / op.grid_cols, op.grid_cols};
}

// Sets exactly `cells` cells to value.
void set_block(PhiloxSequence& random, const GenerateMasks& op, int64_t cells, uint8_t value,
               uint8_t* mask) {
  if (cells == 0) return;
  const Grid box = box_for(random, op, cells);
  int64_t top = random.below(static_cast<uint32_t>(op.grid_rows - box.rows + 1));
  int64_t left = random.below(static_cast<uint32_t>(op.grid_cols - box.cols + 1));
  if (op.roll) {
    top += random.below(static_cast<uint32_t>(op.grid_rows));
    left += random.below(static_cast<uint32_t>(op.grid_cols));
  }
  for (int64_t cell = 0; cell < cells; ++cell) {  // row-major, so the last row may be partial
    const int64_t row = (top + cell / box.cols) % op.grid_rows;
    const int64_t col = (left + cell % box.cols) % op.grid_cols;
    mask[row * op.grid_cols + col] = value;
  }
}

// mask[cell] = 1 for masked cells.
void make_mask(PhiloxSequence& random, const GenerateMasks& op, uint8_t* mask) {
  const int64_t patches = op.grid_rows * op.grid_cols;
  const bool inverse = op.kind == MaskKind::kInverseBlock;
  std::memset(mask, inverse ? 1 : 0, static_cast<size_t>(patches));
  switch (op.kind) {
    case MaskKind::kUniform:
      return choose(random, patches, op.n_masked, [&](int64_t cell) { mask[cell] = 1; });
    case MaskKind::kBlock:
      return set_block(random, op, op.n_masked, 1, mask);
    case MaskKind::kInverseBlock:
      return set_block(random, op, patches - op.n_masked, 0, mask);
  }
}

}  // namespace

void generate_masks_cpu(const GenerateMasks& op) {
  const int64_t images = op.samples.rows, patches = op.grid_rows * op.grid_cols;
  const int64_t n_visible = patches - op.n_masked;
  const int64_t n_predict = op.predict ? op.predict.cols / images : 0;
  const size_t mask_bytes = static_cast<size_t>(patches);
  parallel_for(images, [&](int64_t image, int worker) {
    const uint32_t* sample = op.samples.as<uint32_t>() + 2 * image;
    PhiloxSequence random{op.seed, static_cast<uint32_t>(RandomStream::kMask),
                          (uint64_t{sample[1]} << 32) | sample[0]};
    // The mask, then the numbers of its masked cells.
    uint8_t* mask = static_cast<uint8_t*>(worker_scratch(
        worker, mask_bytes + static_cast<size_t>(op.n_masked + 1) * sizeof(int32_t) + 4));
    int32_t* masked = reinterpret_cast<int32_t*>(mask + (mask_bytes + 3) / 4 * 4);
    make_mask(random, op, mask);
    int32_t* visible = n_visible > 0 ? op.visible.as<int32_t>() + image * n_visible : nullptr;
    int64_t seen = 0, hidden = 0;
    for (int64_t cell = 0; cell < patches; ++cell) {
      const int32_t index = static_cast<int32_t>(image * patches + cell);
      if (mask[cell] != 0) {
        masked[hidden++] = index;
      } else {
        visible[seen++] = index;
      }
    }
    int32_t* predict = n_predict > 0 ? op.predict.as<int32_t>() + image * n_predict : nullptr;
    choose(random, op.n_masked, n_predict, [&](int64_t i) { *predict++ = masked[i]; });
  });
}

}  // namespace capi
