// Images to rows of patches: out[b * N + r * g + c] = the normalised pixels of patch (r, c) of
// image b.
//
//   images  (B, height * width * 3)  u8, [height, width, 3] each
//   flips   (1, B)                   u8, nonzero: mirrored left to right; may be absent
//   out     (B * N, 3 * patch^2)     f32 | bf16, columns in the order channel, row, column of the
//   patch
//
// height and width are multiples of patch; N = (height / patch) * (width / patch), row-major.
// Value = (pixel / 255 - mean[channel]) / std[channel] with ImageNet's mean and std, each step in
// f32.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

struct Patchify {
  MatrixView images, flips, out;
  int64_t height, width, patch;
};

static constexpr float normalized(int pixel, int channel) {
  const float mean = channel == 0 ? 0.485f : channel == 1 ? 0.456f : 0.406f;
  const float std = channel == 0 ? 0.229f : channel == 1 ? 0.224f : 0.225f;
  return (static_cast<float>(pixel) / 255.0f - mean) / std;
}

void patchify(const Patchify& op, Stream* stream);

CAPI_CPU_KERNEL(patchify_cpu, Patchify)
void patchify_cuda(const Patchify& op, DeviceQueue& queue);

}  // namespace capi
