// Starts a kernel, with the arguments converted to its parameters' types and the launch checked.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "core/cuda/check.h"
#include "core/matrix_view.h"

namespace capi {

// What a block may use without asking; more, up to 99 KB on sm_86 and 227 KB on sm_90, is asked
// for.
constexpr size_t kDefaultSharedBytes = 48 * 1024;

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // nothing to do
  if (shared_bytes > kDefaultSharedBytes) {
    CAPI_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(shared_bytes)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  CAPI_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

// Blocks needed for `items` when each takes `per_block`.
constexpr unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// Whether every row of every present view begins at a multiple of 16 bytes and holds a multiple of
// `elements`, so that rows can be read in 16-byte accesses.
inline bool aligned_rows(std::initializer_list<MatrixView> views, int64_t elements) {
  for (const MatrixView& view : views) {
    if (!view) continue;
    const size_t pitch = static_cast<size_t>(view.stride) * dtype_size(view.dtype);
    if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0 || view.cols % elements != 0 ||
        (view.rows > 1 && pitch % 16 != 0)) {
      return false;
    }
  }
  return true;
}

}  // namespace capi
