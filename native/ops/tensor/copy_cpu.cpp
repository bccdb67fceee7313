// memset and memcpy pick their own instructions, so this file is compiled once.
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "ops/tensor/copy.h"

namespace capi {

namespace {

constexpr int64_t kTaskBytes = 1 << 18;

// A contiguous view is one long row.
struct Rows {
  int64_t count;
  int64_t bytes;
};

Rows rows_of(const MatrixView& x, bool contiguous) {
  const int64_t size = static_cast<int64_t>(dtype_size(x.dtype));
  return contiguous ? Rows{1, x.size() * size} : Rows{x.rows, x.cols * size};
}

// body(row, first byte, bytes) for pieces of at most kTaskBytes.
template <typename Body>
void for_pieces(Rows rows, const Body& body) {
  const int64_t pieces = (rows.bytes + kTaskBytes - 1) / kTaskBytes;
  if (pieces > 1) {
    parallel_for(rows.count * pieces, [&](int64_t task, int) {
      const int64_t first = task % pieces * kTaskBytes;
      body(task / pieces, first, std::min(kTaskBytes, rows.bytes - first));
    });
    return;
  }
  const int64_t rows_a_task = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, rows.bytes));
  parallel_for((rows.count + rows_a_task - 1) / rows_a_task, [&](int64_t task, int) {
    const int64_t end = std::min(rows.count, (task + 1) * rows_a_task);
    for (int64_t row = task * rows_a_task; row < end; ++row) body(row, 0, rows.bytes);
  });
}

char* at(const MatrixView& x, int64_t row, int64_t byte) {
  return x.as<char>() + row * x.stride * static_cast<int64_t>(dtype_size(x.dtype)) + byte;
}

}  // namespace

void zero_cpu(const Zero& op) {
  for_pieces(rows_of(op.x, op.x.contiguous()), [&](int64_t row, int64_t first, int64_t bytes) {
    std::memset(at(op.x, row, first), 0, static_cast<size_t>(bytes));
  });
}

void copy_cpu(const Copy& op) {
  const bool contiguous = op.x.contiguous() && op.y.contiguous();
  for_pieces(rows_of(op.x, contiguous), [&](int64_t row, int64_t first, int64_t bytes) {
    std::memcpy(at(op.y, row, first), at(op.x, row, first), static_cast<size_t>(bytes));
  });
}

}  // namespace capi
