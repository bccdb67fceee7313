#include "ops/norm/rms_norm.h"

#include <math.h>

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kRowsPerTask = 32;

template <typename T>
float sum_of_squares(const T* x, int64_t dim) {
  Vec total = zero();
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const Vec v = load(x + i);
    total += v * v;
  }
  if (i < dim) {
    const Vec v = load_partial(x + i, dim - i);
    total += v * v;
  }
  return sum(total);
}

template <typename T, typename W>
void normalize_row(const T* x, const W* weight, T* y, float rstd, int64_t dim) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    Vec v = load(x + i) * rstd;
    if (weight != nullptr) v *= load(weight + i);
    store(y + i, v);
  }
  if (i < dim) {
    Vec v = load_partial(x + i, dim - i) * rstd;
    if (weight != nullptr) v *= load_partial(weight + i, dim - i);
    store_partial(y + i, v, dim - i);
  }
}

template <typename T, typename W>
void forward(const RmsNormForward& op) {
  const int64_t rows = op.y.rows, dim = op.x.cols;
  parallel_for((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kRowsPerTask < rows ? (task + 1) * kRowsPerTask : rows;
    for (int64_t row = task * kRowsPerTask; row < end; ++row) {
      const T* x = op.x.as<T>() + op.map.source(row) * op.x.stride;
      const float rstd = 1.0f / sqrtf(sum_of_squares(x, dim) / static_cast<float>(dim) + op.eps);
      normalize_row(x, op.weight.as<W>(), op.y.as<T>() + row * op.y.stride, rstd, dim);
      if (op.rstd) op.rstd.as<float>()[row] = rstd;
    }
  });
}

}  // namespace

void rms_norm_forward_cpu(const RmsNormForward& op) {
  if (op.x.dtype == Dtype::kF32) return forward<float, float>(op);
  if (op.weight.dtype == Dtype::kBF16) return forward<bf16, bf16>(op);
  return forward<bf16, float>(op);
}

}  // namespace capi::CAPI_ISA
