#include "ops/tensor/cast.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskElements = 1 << 16;

template <typename From, typename To>
void cast_row(const From* x, To* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store_up_to(y + i, load_up_to(x + i, n - i), n - i);
}

template <typename From, typename To>
void cast_matrix(const Cast& op) {
  const bool one_row = op.x.contiguous() && op.y.contiguous();
  const int64_t rows = one_row ? 1 : op.x.rows;
  const int64_t cols = one_row ? op.x.size() : op.x.cols;
  const int64_t pieces = (cols + kTaskElements - 1) / kTaskElements;
  parallel_for(rows * pieces, [&](int64_t task, int) {
    const int64_t row = task / pieces, first = task % pieces * kTaskElements;
    const int64_t left = cols - first;
    cast_row(op.x.as<From>() + row * op.x.stride + first, op.y.as<To>() + row * op.y.stride + first,
             left < kTaskElements ? left : kTaskElements);
  });
}

}  // namespace

void cast_cpu(const Cast& op) {
  with_floating(op.x.dtype, [&](auto from) {
    with_floating(op.y.dtype, [&](auto to) { cast_matrix<decltype(from), decltype(to)>(op); });
  });
}

}  // namespace capi::CAPI_ISA
