// What happens to a finished tile of sums: scale, accumulate, bias, GELU, residual, rounding.
#pragma once

#include "core/simd_math.h"
#include "ops/linear/gemm.h"
#include "ops/linear/gemm_kernel.h"

namespace capi::CAPI_ISA {

static inline Vec load_bias(const MatrixView& bias, int64_t col, int count) {
  return bias.dtype == Dtype::kF32 ? load_up_to(bias.as<float>() + col, count)
                                   : load_up_to(bias.as<bf16>() + col, count);
}

// tile: kTileRows x kTileCols sums, of which rows x cols belong to C from (row, col) on. T: the
// type of C.
template <typename T, GeluEpilogue kGelu>
static void finish_tile(const Gemm& op, const float* tile, int64_t row, int64_t col, int rows,
                        int cols) {
  for (int j = 0; j < cols; j += kLanes) {
    const int count = cols - j < kLanes ? cols - j : kLanes;
    const Vec bias = op.bias ? load_bias(op.bias, col + j, count) : zero();
    for (int i = 0; i < rows; ++i) {
      T* const c = op.c.as<T>() + (row + i) * op.c.stride + col + j;
      Vec z = load(tile + i * kTileCols + j) * op.alpha + bias;
      if (op.accumulate) z += load_up_to(c, count);
      if (kGelu == GeluEpilogue::kForward) {
        if (op.pre) store_up_to(op.pre.as<T>() + (row + i) * op.pre.stride + col + j, z, count);
        z = gelu(z);
      }
      if (kGelu == GeluEpilogue::kBackward) {
        T* const pre = op.pre.as<T>() + (row + i) * op.pre.stride + col + j;
        const GeluAndSlope activation = gelu_and_slope(load_up_to(pre, count));
        z *= activation.slope;
        store_up_to(pre, activation.value, count);
      }
      if (op.residual) {
        z += load_up_to(op.residual.as<T>() + (row + i) * op.residual.stride + col + j, count);
      }
      store_up_to(c, z, count);
    }
  }
}

}  // namespace capi::CAPI_ISA
