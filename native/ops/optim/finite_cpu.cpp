#include "ops/optim/finite.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskElements = 1 << 16;
constexpr uint32_t kExponent = 0x7F800000u;

template <typename T>
int64_t count(const T* x, int64_t n) {
  UintVec found = {};
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec v = load_up_to(x + i, n - i);
    UintVec bits;
    memcpy(&bits, &v, sizeof bits);
    found -= reinterpret_cast<UintVec>((bits & kExponent) == kExponent);  // a true lane is -1
  }
  int64_t total = 0;
  for (int i = 0; i < kLanes; ++i) total += found[i];
  return total;
}

// Losses: a handful of numbers.
int64_t count_f64(const MatrixView& x) {
  constexpr uint64_t kExponentF64 = 0x7FF0000000000000u;
  int64_t total = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    uint64_t bits;
    memcpy(&bits, x.as<double>() + i, sizeof bits);
    total += (bits & kExponentF64) == kExponentF64;
  }
  return total;
}

template <typename T>
int64_t count_all(const MatrixView& x) {
  const int64_t size = x.size(), tasks = (size + kTaskElements - 1) / kTaskElements;
  int64_t* counts = static_cast<int64_t*>(op_scratch(static_cast<size_t>(tasks) * sizeof(int64_t)));
  parallel_for(tasks, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElements, left = size - begin;
    counts[task] = count(x.as<T>() + begin, left < kTaskElements ? left : kTaskElements);
  });
  int64_t total = 0;
  for (int64_t task = 0; task < tasks; ++task) total += counts[task];
  return total;
}

}  // namespace

void count_nonfinite_cpu(const CountNonfinite& op) {
  int64_t total = op.accumulate ? op.count.as<int32_t>()[0] : 0;
  if (op.x.dtype == Dtype::kF64) {
    total += count_f64(op.x);
  } else {
    with_floating(op.x.dtype, [&](auto type) { total += count_all<decltype(type)>(op.x); });
  }
  op.count.as<int32_t>()[0] = total < INT32_MAX ? static_cast<int32_t>(total) : INT32_MAX;
}

}  // namespace capi::CAPI_ISA
