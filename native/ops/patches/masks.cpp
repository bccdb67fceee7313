#include "ops/patches/masks.h"

#include <algorithm>
#include <cmath>

#include "core/expect.h"
#include "core/stream.h"
#include "ops/patches/mask_draw.h"

namespace capi {

void generate_masks(const GenerateMasks& op, Stream* stream) {
  const Expect expect("generate_masks");
  const std::string grid = std::to_string(op.grid_rows) + " x " + std::to_string(op.grid_cols);
  expect.that(op.grid_rows > 0 && op.grid_cols > 0 && op.grid_rows < 32768 && op.grid_cols < 32768,
              "a grid of 1 to 32767 patches a side", grid);
  const int64_t patches = op.grid_rows * op.grid_cols;
  expect.that(op.n_masked >= 0 && op.n_masked <= patches,
              "n_masked in [0, " + std::to_string(patches) + "]", std::to_string(op.n_masked));
  expect.that(op.min_aspect > 0 && op.min_aspect <= op.max_aspect && std::isfinite(op.max_aspect),
              "0 < min_aspect <= max_aspect",
              std::to_string(op.min_aspect) + ", " + std::to_string(op.max_aspect));
  expect.matrix("samples", op.samples, op.samples.rows, 2, Dtype::kI32);
  expect.contiguous("samples", op.samples);
  const int64_t images = op.samples.rows;
  expect.that(images > 0 && images * patches < (int64_t{1} << 31),
              "1 to 2^31 - 1 patches in a batch", std::to_string(images) + " x " + grid,
              ErrorCode::kShapeMismatch);
  if (op.visible || op.n_masked < patches) {
    expect.matrix("visible", op.visible, 1, images * (patches - op.n_masked), Dtype::kI32);
  }
  if (op.predict) {
    expect.matrix("predict", op.predict, 1, op.predict.cols, Dtype::kI32);
    expect.that(op.predict.cols % images == 0 && op.predict.cols / images <= op.n_masked,
                "predict of at most " + std::to_string(op.n_masked) + " for each of " +
                    std::to_string(images) + " images",
                shape_text(op.predict), ErrorCode::kShapeMismatch);
  }
  expect.same_backend({op.samples, op.visible, op.predict});
  switch (op.samples.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { generate_masks_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { generate_masks_cuda(op, stream->device()); });
  }
}

MaskDraw mask_draw(const GenerateMasks& op) {
  const double rows = static_cast<double>(op.grid_rows), cols = static_cast<double>(op.grid_cols);
  const int64_t cells =
      op.kind == MaskKind::kInverseBlock ? op.grid_rows * op.grid_cols - op.n_masked : op.n_masked;
  MaskDraw draw = {op.kind, op.roll, op.grid_rows, op.grid_cols, op.n_masked, 0, op.seed, 0.0, 0.0};
  if (op.predict) draw.n_predict = op.predict.cols / op.samples.rows;
  if (cells > 0) {
    const double size = static_cast<double>(cells);
    draw.low = std::max(std::log(op.min_aspect), std::log(size / (cols * cols)));
    // 1e-5 keeps the height of the tallest box from being rounded above the grid's.
    draw.high = std::min(std::log(op.max_aspect), std::log(rows * rows / (size + 1e-5)));
  }
  return draw;
}

}  // namespace capi
