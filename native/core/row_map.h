// Which rows of a token matrix an op touches: the images of a drop-path subset, or all tokens but
// the registers. Row i of the op is row image(i / rows) * source_rows + source_offset + i % rows of
// the source, where image(j) = images ? images[j] : j. rows == 0 means the identity.
#pragma once

#include "core/matrix_view.h"

namespace capi {

struct RowMap {
  MatrixView images;  // i32 (1, b'), distinct, or null
  int64_t rows = 0;
  int64_t source_rows = 0;
  int64_t source_offset = 0;

  constexpr int64_t source(int64_t row) const {  // constexpr: kernels on a device call it too
    if (rows == 0) return row;
    const int64_t image = row / rows;
    const int64_t from =
        images.data != nullptr ? static_cast<const int32_t*>(images.data)[image] : image;
    return from * source_rows + source_offset + row % rows;
  }
};

}  // namespace capi
