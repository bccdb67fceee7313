#include "ops/norm/weight_norm.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskRows = 32;

template <typename Body>
void for_rows(int64_t rows, const Body& body) {
  parallel_for((rows + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kTaskRows < rows ? (task + 1) * kTaskRows : rows;
    for (int64_t row = task * kTaskRows; row < end; ++row) body(row);
  });
}

float dot(const float* a, const float* b, int64_t n) {
  Vec even = zero(), odd = zero();
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even += load(a + i) * load(b + i);
    odd += load(a + i + kLanes) * load(b + i + kLanes);
  }
  for (; i < n; i += kLanes) even += load_up_to(a + i, n - i) * load_up_to(b + i, n - i);
  return sum(even + odd);
}

template <typename T>
void forward(const WeightNormForward& op) {
  const int64_t dim = op.v.cols;
  for_rows(op.v.rows, [&](int64_t row) {
    const float* v = op.v.as<float>() + row * dim;
    T* weight = op.weight.as<T>() + row * dim;
    const float scale = op.g.as<float>()[row] / (__builtin_sqrtf(dot(v, v, dim)) + op.eps);
    for (int64_t i = 0; i < dim; i += kLanes) {
      store_up_to(weight + i, load_up_to(v + i, dim - i) * scale, dim - i);
    }
  });
}

}  // namespace

void weight_norm_forward_cpu(const WeightNormForward& op) {
  with_floating(op.weight.dtype, [&](auto type) { forward<decltype(type)>(op); });
}

void weight_norm_backward_cpu(const WeightNormBackward& op) {
  const int64_t dim = op.v.cols;
  for_rows(op.v.rows, [&](int64_t row) {
    const float* v = op.v.as<float>() + row * dim;
    const float* grad_weight = op.grad_weight.as<float>() + row * dim;
    float* grad_v = op.grad_v.as<float>() + row * dim;
    const float norm = __builtin_sqrtf(dot(v, v, dim));
    const float scale = op.g.as<float>()[row] / (norm + op.eps);
    const float grad_g = dot(grad_weight, v, dim) / (norm + op.eps);
    const float radial = norm == 0 ? 0.0f : scale * (grad_g / norm);
    for (int64_t i = 0; i < dim; i += kLanes) {
      const int64_t left = dim - i;
      store_up_to(grad_v + i,
                  load_up_to(grad_weight + i, left) * scale - load_up_to(v + i, left) * radial,
                  left);
    }
    op.grad_g.as<float>()[row] = grad_g;
  });
}

}  // namespace capi::CAPI_ISA
