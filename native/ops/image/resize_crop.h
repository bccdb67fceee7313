// out = antialiased bicubic resize of a box of an image, exactly as Pillow resizes the cropped
// image.
//
//   image  [height, width, 3] u8
//   box    top, left, box_height, box_width: inside the image; nothing outside the box is read
//   out    [out_height, out_width, 3] u8
//
// One dimension n -> m: with s = n / m and t = max(s, 1), output i is centred at c = (i + 0.5) s
// and weighs input j by cubic((j + 0.5 - c) / t), a = -0.5, for |j + 0.5 - c| < 2t, normalised to
// sum 1 and rounded to 22 fractional bits. First across, then down, each rounded and clipped to 8
// bits.
//
// A host function: it runs in the calling thread, which is a data worker.
#pragma once

#include "core/cpu_isa.h"
#include "core/dtype.h"

namespace capi {

struct ResizeCrop {
  const uint8_t* image;
  int64_t height, width;
  int64_t top, left, box_height, box_width;
  uint8_t* out;
  int64_t out_height, out_width;
};

void resize_crop(const ResizeCrop& op);

// The weights of one dimension: output i = sum over k < count[i] of input[first[i] + k] * weight[i
// * taps + k].
struct ResampleTaps {
  const int32_t* first;
  const int32_t* count;
  const int32_t* weight;
  int64_t taps;
};
constexpr int kResampleBits = 22;

// Across: rows [box_height, out_width * 3] of the box. `staged` holds kResampleStage bytes a box
// column.
struct ResampleRows {
  const uint8_t* box;  // first pixel of the box
  int64_t stride;      // bytes from one image row to the next
  int64_t rows, cols;  // of the box
  ResampleTaps taps;
  uint8_t* staged;
  uint8_t* out;
  int64_t out_cols, out_stride;
};
constexpr int64_t kResampleStage = 16;

// Down: rows of `width` bytes.
struct ResampleColumns {
  const uint8_t* in;
  int64_t in_stride;
  int64_t width;
  ResampleTaps taps;
  uint8_t* out;
  int64_t out_rows, out_stride;
};

CAPI_CPU_KERNEL(resample_rows_cpu, ResampleRows)
CAPI_CPU_KERNEL(resample_columns_cpu, ResampleColumns)

}  // namespace capi
