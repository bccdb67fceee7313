// What the CUDA kernels of rope and attention share: where an image finds its rows and coordinates,
// which channels turn together, and kernels that rotate rows to scratch and gradients back.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/matrix_view.h"
#include "ops/attention/attention.h"

namespace capi {

class DeviceQueue;

// Where image i of q finds its coordinates and its context; -1 where an index is out of range.
struct Place {
  int64_t image, context;
  constexpr bool valid() const { return image >= 0 && context >= 0; }
};

struct Places {
  const int32_t* images = nullptr;    // (b) or null: i
  const int32_t* contexts = nullptr;  // (b) or null: i
  int64_t coordinate_images = INT64_MAX;
  int64_t context_count = 1;

  constexpr Place at(int64_t i) const {
    Place place{i, i};
    if (images != nullptr) place.image = images[i];
    if (contexts != nullptr) place.context = contexts[i];
    if (place.image < 0 || place.image >= coordinate_images) place.image = -1;
    if (place.context < 0 || place.context >= context_count) place.context = -1;
    return place;
  }
};

template <typename Op>
Places places_of(const Op& op) {
  Places places;
  places.images = op.images.template as<int32_t>();
  places.contexts = op.context_images.template as<int32_t>();
  if (op.rope != Rope::kNone) places.coordinate_images = op.q_coordinates.rows / op.n_q;
  places.context_count = op.k.rows / op.n_k;
  return places;
}

constexpr int64_t rope_distance(Rope rope, int64_t d) {
  return rope == Rope::kAxial ? d / 4 : d / 2;
}
// The first channel of pair `pair` of d / 2; its partner is `distance` further.
constexpr int64_t rope_first(int64_t pair, int64_t distance) {
  return pair / distance * 2 * distance + pair % distance;
}

// Rows of n tokens an image, in the order of the op's images.
struct RopeRows {
  Rope rope;
  int64_t images, n, heads, d;
  const float* coordinates;  // (all images * n, 2)
  const float* frequencies;  // (2, d)
  Places places;
  bool of_context;  // the rows of x, and of its gradient, are those of the context

  constexpr int64_t rows() const { return images * n; }
  constexpr int64_t source(const Place& place, int64_t row) const {
    return (of_context ? place.context : row / n) * n + row % n;
  }
};

// to (images * n, heads * d) = scale * rope(x); rows of images out of range are left alone. A bf16
// result is for a bf16 x.
void rotate_rows(const RopeRows& rows, const MatrixView& x, float* to, float scale,
                 DeviceQueue& queue);
void rotate_rows(const RopeRows& rows, const MatrixView& x, bf16* to, float scale,
                 DeviceQueue& queue);

// The table of the rows' angles, d a row (angle_table_cuda.h).
void fill_angles(const RopeRows& rows, uint32_t* table, DeviceQueue& queue);

// Floats of rotate_back_rows' parts of the gradient of the frequencies.
int64_t frequency_part_floats(const RopeRows& rows);

// grad = transpose of rope (scale * grad_rotated), grad_rotated f32 with rows `stride` apart; grad
// may be x. An image out of range gets NaN, or, where the rows are the context's, zero, unless
// there is a list of contexts. parts: null or frequency_part_floats, which merge_frequency_parts
// adds up.
void rotate_back_rows(const RopeRows& rows, const float* grad_rotated, int64_t stride, float scale,
                      const MatrixView& x, const MatrixView& grad, float* parts,
                      DeviceQueue& queue);

// grad_frequencies (2, d) = the sum of part_floats / (2 d) parts, in their order.
void merge_frequency_parts(const float* parts, int64_t part_floats, const MatrixView& to,
                           DeviceQueue& queue);

}  // namespace capi
