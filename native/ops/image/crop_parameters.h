// The box and mirror of one sample: RandomResizedCrop followed by RandomHorizontalFlip, as a
// function of (seed, sample number, image size) only.
//
// Up to 10 tries: area = height * width * U(min_scale, max_scale), aspect = exp(U(log min_aspect,
// log max_aspect)), width = round(sqrt(area * aspect)), height = round(sqrt(area / aspect)),
// accepted when it fits, position uniform. Otherwise the centred box whose aspect is the image's,
// clamped to the range. Halves round to even.
#pragma once

#include <cstdint>

namespace capi {

struct CropParameters {
  uint64_t seed, sample;
  int64_t height, width;
  double min_scale, max_scale;
  double min_aspect, max_aspect;
  double flip_probability;
};

struct CropBox {
  int64_t top, left, height, width;
  bool flip;
};

CropBox crop_parameters(const CropParameters& op);

}  // namespace capi
