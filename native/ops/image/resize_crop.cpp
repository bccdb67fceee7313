#include "ops/image/resize_crop.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/expect.h"

namespace capi {
namespace {

constexpr int64_t kMaxSide = 1 << 20;

// Keys' cubic convolution kernel with a = -0.5.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

class Taps {
 public:
  Taps(int64_t in_size, int64_t out_size) : first_(out_size), count_(out_size) {
    const double scale = static_cast<double>(in_size) / static_cast<double>(out_size);
    const double stretch = scale < 1.0 ? 1.0 : scale;
    const double support = 2.0 * stretch;
    const double shrink = 1.0 / stretch;
    taps_ = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    weight_.assign(static_cast<size_t>(out_size * taps_), 0);
    std::vector<double> exact(static_cast<size_t>(taps_));
    for (int64_t i = 0; i < out_size; ++i) {
      const double centre = (static_cast<double>(i) + 0.5) * scale;
      int64_t begin = static_cast<int64_t>(centre - support + 0.5);
      int64_t end = static_cast<int64_t>(centre + support + 0.5);
      if (begin < 0) begin = 0;
      if (end > in_size) end = in_size;
      double total = 0.0;
      for (int64_t j = begin; j < end; ++j) {
        const double w = cubic((static_cast<double>(j) - centre + 0.5) * shrink);
        exact[static_cast<size_t>(j - begin)] = w;
        total += w;
      }
      for (int64_t k = 0; k < end - begin; ++k) {
        const double w = exact[static_cast<size_t>(k)] / total * (1 << kResampleBits);
        weight_[static_cast<size_t>(i * taps_ + k)] =
            static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
      }
      first_[static_cast<size_t>(i)] = static_cast<int32_t>(begin);
      count_[static_cast<size_t>(i)] = static_cast<int32_t>(end - begin);
    }
  }
  ResampleTaps view() const { return {first_.data(), count_.data(), weight_.data(), taps_}; }

 private:
  int64_t taps_;
  std::vector<int32_t> first_, count_, weight_;
};

void check(const ResizeCrop& op) {
  const Expect expect("resize_crop");
  expect.that(op.height >= 1 && op.width >= 1 && op.height <= kMaxSide && op.width <= kMaxSide,
              "an image side in [1, 1048576]",
              std::to_string(op.height) + " x " + std::to_string(op.width));
  expect.that(op.out_height >= 1 && op.out_width >= 1 && op.out_height <= kMaxSide &&
                  op.out_width <= kMaxSide,
              "an output side in [1, 1048576]",
              std::to_string(op.out_height) + " x " + std::to_string(op.out_width));
  expect.that(
      op.top >= 0 && op.left >= 0 && op.box_height >= 1 && op.box_width >= 1 &&
          op.box_height <= op.height - op.top && op.box_width <= op.width - op.left,
      "a box inside the image of " + std::to_string(op.height) + " x " + std::to_string(op.width),
      "top " + std::to_string(op.top) + ", left " + std::to_string(op.left) + ", " +
          std::to_string(op.box_height) + " x " + std::to_string(op.box_width));
}

}  // namespace

void resize_crop(const ResizeCrop& op) {
  check(op);
  const uint8_t* box = op.image + (op.top * op.width + op.left) * 3;
  const int64_t box_stride = op.width * 3, out_stride = op.out_width * 3;
  // A dimension that keeps its size has weights 1: its pass would copy.
  const bool across = op.box_width != op.out_width, down = op.box_height != op.out_height;
  if (!across && !down) {
    for (int64_t y = 0; y < op.out_height; ++y) {
      std::memcpy(op.out + y * out_stride, box + y * box_stride, static_cast<size_t>(out_stride));
    }
    return;
  }
  std::vector<uint8_t> between;
  if (across) {
    const Taps taps(op.box_width, op.out_width);
    std::vector<uint8_t> staged(static_cast<size_t>(op.box_width * kResampleStage));
    uint8_t* to = op.out;
    if (down) {
      between.resize(static_cast<size_t>(op.box_height * out_stride));
      to = between.data();
    }
    resample_rows_cpu({.box = box,
                       .stride = box_stride,
                       .rows = op.box_height,
                       .cols = op.box_width,
                       .taps = taps.view(),
                       .staged = staged.data(),
                       .out = to,
                       .out_cols = op.out_width,
                       .out_stride = out_stride});
    box = to;
  }
  if (down) {
    const Taps taps(op.box_height, op.out_height);
    resample_columns_cpu({.in = box,
                          .in_stride = across ? out_stride : box_stride,
                          .width = out_stride,
                          .taps = taps.view(),
                          .out = op.out,
                          .out_rows = op.out_height,
                          .out_stride = out_stride});
  }
}

}  // namespace capi
