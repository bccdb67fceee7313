#include "ops/image/crop_parameters.h"

#include <cmath>
#include <string>

#include "core/expect.h"
#include "core/philox.h"

namespace capi {
namespace {

void check(const CropParameters& op) {
  const Expect expect("crop_parameters");
  expect.that(op.height >= 1 && op.width >= 1 && op.height < (1 << 30) && op.width < (1 << 30),
              "an image side in [1, 2^30)",
              std::to_string(op.height) + " x " + std::to_string(op.width));
  expect.that(op.min_scale > 0 && op.min_scale <= op.max_scale && op.max_scale <= 1,
              "0 < min_scale <= max_scale <= 1",
              std::to_string(op.min_scale) + " and " + std::to_string(op.max_scale));
  expect.that(op.min_aspect > 0 && op.min_aspect <= op.max_aspect && std::isfinite(op.max_aspect),
              "0 < min_aspect <= max_aspect",
              std::to_string(op.min_aspect) + " and " + std::to_string(op.max_aspect));
  expect.that(op.flip_probability >= 0 && op.flip_probability <= 1, "flip_probability in [0, 1]",
              std::to_string(op.flip_probability));
}

int64_t round_half_even(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

CropBox centred(const CropParameters& op) {
  const double aspect = static_cast<double>(op.width) / static_cast<double>(op.height);
  int64_t height = op.height, width = op.width;
  if (aspect < op.min_aspect) {
    height = round_half_even(static_cast<double>(width) / op.min_aspect);
  } else if (aspect > op.max_aspect) {
    width = round_half_even(static_cast<double>(height) * op.max_aspect);
  }
  if (height < 1) height = 1;
  if (width < 1) width = 1;
  return {(op.height - height) / 2, (op.width - width) / 2, height, width, false};
}

}  // namespace

CropBox crop_parameters(const CropParameters& op) {
  check(op);
  PhiloxSequence random{op.seed, static_cast<uint32_t>(RandomStream::kCrop), op.sample};
  const bool flip = random.uniform() < op.flip_probability;
  const double area = static_cast<double>(op.height) * static_cast<double>(op.width);
  const double low = std::log(op.min_aspect), high = std::log(op.max_aspect);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * random.uniform(op.min_scale, op.max_scale);
    const double aspect = std::exp(random.uniform(low, high));
    const int64_t width = round_half_even(std::sqrt(target * aspect));
    const int64_t height = round_half_even(std::sqrt(target / aspect));
    if (width < 1 || height < 1 || width > op.width || height > op.height) continue;
    const int64_t top = random.below(static_cast<uint32_t>(op.height - height + 1));
    const int64_t left = random.below(static_cast<uint32_t>(op.width - width + 1));
    return {top, left, height, width, flip};
  }
  CropBox box = centred(op);
  box.flip = flip;
  return box;
}

}  // namespace capi
