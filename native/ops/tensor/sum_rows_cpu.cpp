#include "ops/tensor/sum_rows.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kChunk = 256;      // rows summed into one partial row
constexpr int64_t kTaskCols = 1024;  // columns of a task: its partial row stays in L1
constexpr int64_t kMergeCols = 256;

// partial[j] = sum of x[row, j] over the rows; four rows a pass, so that partial is touched a
// quarter as often.
template <typename T>
void sum_chunk(const T* x, int64_t stride, int64_t rows, int64_t cols, float* partial) {
  for (int64_t j = 0; j < cols; ++j) partial[j] = 0.0f;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const T* from = x + row * stride;
    for (int64_t j = 0; j < cols; j += kLanes) {
      const int64_t left = cols - j;
      const Vec low = load_up_to(from + j, left) + load_up_to(from + stride + j, left);
      const Vec high =
          load_up_to(from + 2 * stride + j, left) + load_up_to(from + 3 * stride + j, left);
      store_up_to(partial + j, load_up_to(partial + j, left) + (low + high), left);
    }
  }
  for (; row < rows; ++row) {
    const T* from = x + row * stride;
    for (int64_t j = 0; j < cols; j += kLanes) {
      const int64_t left = cols - j;
      store_up_to(partial + j, load_up_to(partial + j, left) + load_up_to(from + j, left), left);
    }
  }
}

template <typename T>
void sum(const SumRows& op) {
  const int64_t rows = op.x.rows, cols = op.x.cols;
  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  const int64_t blocks = (cols + kTaskCols - 1) / kTaskCols;
  float* partials =
      static_cast<float*>(op_scratch(static_cast<size_t>(chunks * cols) * sizeof(float)));
  parallel_for(chunks * blocks, [&](int64_t task, int) {
    const int64_t chunk = task / blocks, first = task % blocks * kTaskCols;
    const int64_t here = rows - chunk * kChunk, wide = cols - first;
    sum_chunk(op.x.as<T>() + chunk * kChunk * op.x.stride + first, op.x.stride,
              here < kChunk ? here : kChunk, wide < kTaskCols ? wide : kTaskCols,
              partials + chunk * cols + first);
  });
  parallel_for((cols + kMergeCols - 1) / kMergeCols, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kMergeCols < cols ? (task + 1) * kMergeCols : cols;
    for (int64_t j = task * kMergeCols; j < end; j += kLanes) {
      Vec total = zero();
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        total += load_up_to(partials + chunk * cols + j, end - j);
      }
      store_up_to(op.y.as<float>() + j, total * op.scale, end - j);
    }
  });
}

}  // namespace

void sum_rows_cpu(const SumRows& op) {
  with_floating(op.x.dtype, [&](auto type) { sum<decltype(type)>(op); });
}

}  // namespace capi::CAPI_ISA
