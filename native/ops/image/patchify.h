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

void patchify(const Patchify& op, Stream* stream);

CAPI_CPU_KERNEL(patchify_cpu, Patchify)
void patchify_cuda(const Patchify& op, DeviceQueue& queue);

}  // namespace capi
