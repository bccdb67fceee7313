#include "ops/norm/l2_normalize.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskElements = 1 << 14;

// body(row) for every row; the rows of a task hold about kTaskElements.
template <typename Body>
void for_rows(int64_t rows, int64_t cols, const Body& body) {
  const int64_t rows_a_task = cols < kTaskElements ? kTaskElements / cols : 1;
  parallel_for((rows + rows_a_task - 1) / rows_a_task, [&](int64_t task, int) {
    const int64_t end = (task + 1) * rows_a_task < rows ? (task + 1) * rows_a_task : rows;
    for (int64_t row = task * rows_a_task; row < end; ++row) body(row);
  });
}

template <typename A, typename B>
float dot(const A* a, const B* b, int64_t n) {
  Vec even = zero(), odd = zero();
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even += load(a + i) * load(b + i);
    odd += load(a + i + kLanes) * load(b + i + kLanes);
  }
  for (; i < n; i += kLanes) even += load_up_to(a + i, n - i) * load_up_to(b + i, n - i);
  return sum(even + odd);
}

template <typename X, typename Y>
void forward(const L2NormalizeForward& op) {
  const int64_t dim = op.x.cols;
  for_rows(op.x.rows, dim, [&](int64_t row) {
    const X* x = op.x.as<X>() + row * op.x.stride;
    Y* y = op.y.as<Y>() + row * op.y.stride;
    const float norm = __builtin_sqrtf(dot(x, x, dim));
    const bool clamped = norm < op.eps;
    const float inverse = 1.0f / (clamped ? op.eps : norm);
    for (int64_t i = 0; i < dim; i += kLanes) {
      store_up_to(y + i, load_up_to(x + i, dim - i) * inverse, dim - i);
    }
    if (op.inv_norm) op.inv_norm.as<float>()[row] = clamped ? -inverse : inverse;
  });
}

template <typename Y, typename X>
void backward(const L2NormalizeBackward& op) {
  const int64_t dim = op.y.cols;
  for_rows(op.y.rows, dim, [&](int64_t row) {
    const Y* y = op.y.as<Y>() + row * op.y.stride;
    const Y* grad_y = op.grad_y.as<Y>() + row * op.grad_y.stride;
    X* grad_x = op.grad_x.as<X>() + row * op.grad_x.stride;
    const float saved = op.inv_norm.as<float>()[row];
    const float inverse = saved < 0 ? -saved : saved;
    const float radial = saved < 0 ? 0.0f : dot(y, grad_y, dim);
    for (int64_t i = 0; i < dim; i += kLanes) {
      const int64_t left = dim - i;
      const Vec tangent = load_up_to(grad_y + i, left) - load_up_to(y + i, left) * radial;
      store_up_to(grad_x + i, tangent * inverse, left);
    }
  });
}

}  // namespace

void l2_normalize_forward_cpu(const L2NormalizeForward& op) {
  with_floating(op.x.dtype, [&](auto x) {
    with_floating(op.y.dtype, [&](auto y) { forward<decltype(x), decltype(y)>(op); });
  });
}

void l2_normalize_backward_cpu(const L2NormalizeBackward& op) {
  with_floating(op.y.dtype, [&](auto y) {
    with_floating(op.grad_x.dtype, [&](auto x) { backward<decltype(y), decltype(x)>(op); });
  });
}

}  // namespace capi::CAPI_ISA
