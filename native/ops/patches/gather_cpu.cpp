// memcpy picks its own instructions, so this file is compiled once.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/patches/gather.h"

namespace capi {

namespace {

constexpr int64_t kTaskBytes = 1 << 16;

}  // namespace

void gather_rows_cpu(const GatherRows& op) {
  const int64_t size = static_cast<int64_t>(dtype_size(op.x.dtype));
  const int64_t row_bytes = op.x.cols * size, rows = op.y.rows;
  const bool integers = op.x.dtype == Dtype::kI32 || op.x.dtype == Dtype::kU8;
  const int64_t rows_a_task = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, row_bytes));
  parallel_for((rows + rows_a_task - 1) / rows_a_task, [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * rows_a_task);
    for (int64_t row = task * rows_a_task; row < end; ++row) {
      char* y = op.y.as<char>() + row * op.y.stride * size;
      const int64_t from = op.indices.as<int32_t>()[row];
      if (from >= 0 && from < op.x.rows) {
        std::memcpy(y, op.x.as<char>() + from * op.x.stride * size, static_cast<size_t>(row_bytes));
      } else {  // all ones are a NaN in every float type
        std::memset(y, integers ? 0 : 0xFF, static_cast<size_t>(row_bytes));
      }
    }
  });
}

}  // namespace capi
