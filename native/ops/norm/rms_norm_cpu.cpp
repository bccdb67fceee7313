#include "ops/norm/rms_norm.h"

#include <math.h>

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

// Rows of a task, and of a partial sum of grad_weight.
constexpr int64_t kChunk = 64;

// Source row of a row of the op; -1 where the image number lies outside the source.
int64_t source_of(const RowMap& map, int64_t row, int64_t source_rows) {
  const int64_t source = map.source(row);
  return source >= 0 && source < source_rows ? source : -1;
}

template <typename T>
float sum_of_squares(const T* x, int64_t dim) {
  Vec even = zero(), odd = zero();
  int64_t i = 0;
  for (; i + 2 * kLanes <= dim; i += 2 * kLanes) {
    const Vec v = load(x + i), w = load(x + i + kLanes);
    even += v * v;
    odd += w * w;
  }
  for (; i < dim; i += kLanes) {
    const Vec v = load_up_to(x + i, dim - i);
    even += v * v;
  }
  return sum(even + odd);
}

template <typename T, typename W>
void normalize_row(const T* x, const W* weight, T* y, float rstd, int64_t dim) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    Vec v = load_up_to(x + i, dim - i) * rstd;
    if (weight != nullptr) v *= load_up_to(weight + i, dim - i);
    store_up_to(y + i, v, dim - i);
  }
}

template <typename T>
void fill_nan(T* y, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) set(y + i, __builtin_nanf(""));
}

template <typename T, typename W>
void forward(const RmsNormForward& op) {
  const int64_t rows = op.y.rows, dim = op.x.cols;
  parallel_for((rows + kChunk - 1) / kChunk, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kChunk < rows ? (task + 1) * kChunk : rows;
    for (int64_t row = task * kChunk; row < end; ++row) {
      const int64_t source = source_of(op.map, row, op.x.rows);
      T* y = op.y.as<T>() + row * op.y.stride;
      float rstd = __builtin_nanf("");
      if (source >= 0) {
        const T* x = op.x.as<T>() + source * op.x.stride;
        rstd = 1.0f / sqrtf(sum_of_squares(x, dim) / static_cast<float>(dim) + op.eps);
        normalize_row(x, op.weight.as<W>(), y, rstd, dim);
      } else {
        fill_nan(y, dim);
      }
      if (op.rstd) op.rstd.as<float>()[row] = rstd;
    }
  });
}

// sum of grad_y * weight * x, and grad_weight += grad_y * x * rstd
template <typename T, typename W>
float project_row(const T* x, const W* weight, const T* grad_y, float* grad_weight, float rstd,
                  int64_t dim) {
  Vec total = zero();
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t left = dim - i;
    const Vec product = load_up_to(grad_y + i, left) * load_up_to(x + i, left);
    total += weight != nullptr ? product * load_up_to(weight + i, left) : product;
    if (grad_weight != nullptr) {
      store_up_to(grad_weight + i, load_up_to(grad_weight + i, left) + product * rstd, left);
    }
  }
  return sum(total);
}

template <typename T, typename W>
void backward_row(const T* x, const W* weight, const T* grad_y, T* grad_x, T* y, bool accumulate,
                  float rstd, float slope, int64_t dim) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t left = dim - i;
    const Vec from = load_up_to(x + i, left);
    Vec grad = load_up_to(grad_y + i, left);
    Vec out = from * rstd;
    if (weight != nullptr) {
      const Vec w = load_up_to(weight + i, left);
      grad *= w;
      out *= w;
    }
    Vec to = grad * rstd - from * slope;
    if (accumulate) to += load_up_to(grad_x + i, left);
    store_up_to(grad_x + i, to, left);
    if (y != nullptr) store_up_to(y + i, out, left);
  }
}

void merge(const float* partials, int64_t chunks, float* grad_weight, int64_t dim) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    Vec total = zero();
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      total += load_up_to(partials + chunk * dim + i, dim - i);
    }
    store_up_to(grad_weight + i, total, dim - i);
  }
}

template <typename T, typename W>
void backward(const RmsNormBackward& op) {
  const int64_t rows = op.grad_y.rows, dim = op.x.cols;
  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  const size_t row_bytes = static_cast<size_t>(dim) * sizeof(float);
  float* partials = nullptr;
  if (op.grad_weight) {
    partials = static_cast<float*>(op_scratch(static_cast<size_t>(chunks) * row_bytes));
  }
  parallel_for(chunks, [&](int64_t chunk, int) {
    float* partial = partials != nullptr ? partials + chunk * dim : nullptr;
    if (partial != nullptr) memset(partial, 0, row_bytes);
    const int64_t end = (chunk + 1) * kChunk < rows ? (chunk + 1) * kChunk : rows;
    for (int64_t row = chunk * kChunk; row < end; ++row) {
      const int64_t source = source_of(op.map, row, op.x.rows);
      T* y = op.y ? op.y.as<T>() + row * op.y.stride : nullptr;
      if (source < 0) {
        if (y != nullptr) fill_nan(y, dim);
        continue;
      }
      const T* x = op.x.as<T>() + source * op.x.stride;
      const T* grad_y = op.grad_y.as<T>() + row * op.grad_y.stride;
      const W* weight = op.weight.as<W>();
      const float rstd = op.rstd.as<float>()[row];
      const float projection = project_row(x, weight, grad_y, partial, rstd, dim);
      const float slope = projection / static_cast<float>(dim) * rstd * rstd * rstd;
      backward_row(x, weight, grad_y, op.grad_x.as<T>() + source * op.grad_x.stride, y,
                   op.accumulate, rstd, slope, dim);
    }
  });
  if (partials != nullptr) merge(partials, chunks, op.grad_weight.as<float>(), dim);
}

}  // namespace

void rms_norm_forward_cpu(const RmsNormForward& op) {
  if (op.x.dtype == Dtype::kF32) return forward<float, float>(op);
  if (op.weight.dtype == Dtype::kBF16) return forward<bf16, bf16>(op);
  return forward<bf16, float>(op);
}

void rms_norm_backward_cpu(const RmsNormBackward& op) {
  if (op.x.dtype == Dtype::kF32) return backward<float, float>(op);
  if (op.weight.dtype == Dtype::kBF16) return backward<bf16, bf16>(op);
  return backward<bf16, float>(op);
}

}  // namespace capi::CAPI_ISA
