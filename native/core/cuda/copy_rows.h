// Copies the rows of one matrix to another of the same shape and type, each with its own stride.
#pragma once

#include <cuda_runtime.h>

#include "core/cuda/check.h"
#include "core/matrix_view.h"

namespace capi {

inline size_t row_bytes(const MatrixView& view) {
  return static_cast<size_t>(view.cols) * dtype_size(view.dtype);
}
inline size_t pitch_bytes(const MatrixView& view) {
  return static_cast<size_t>(view.stride) * dtype_size(view.dtype);
}

// Contiguous rows go as one run: the runtime's pitches end at 2^31 - 1, which large arenas exceed.
inline void copy_rows(const MatrixView& to, const MatrixView& from, cudaMemcpyKind kind,
                      cudaStream_t stream) {
  if (from.size() == 0) return;
  const size_t rows = static_cast<size_t>(from.rows);
  if (to.contiguous() && from.contiguous()) {
    CAPI_CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, rows * row_bytes(from), kind, stream));
  } else {
    CAPI_CUDA_CHECK(cudaMemcpy2DAsync(to.data, pitch_bytes(to), from.data, pitch_bytes(from),
                                      row_bytes(from), rows, kind, stream));
  }
}

}  // namespace capi
