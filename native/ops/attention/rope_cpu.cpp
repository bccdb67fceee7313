#include "ops/attention/rope.h"

#include "core/simd.h"
#include "core/thread_pool.h"
#include "ops/attention/rope_cpu.h"

namespace capi::CAPI_ISA {

namespace {

// Rows of a task, and of one partial sum of the frequencies' gradient.
constexpr int64_t kRows = 64;

// body(task, first row, rows, table of the rows' cos and sin) for all rows.
template <typename Op, typename Body>
void for_rows(const Op& op, const Body& body) {
  const int64_t d = op.x.cols / op.heads;
  parallel_for((op.x.rows + kRows - 1) / kRows, [&](int64_t task, int worker) {
    const int64_t first = task * kRows;
    const int64_t rows = first + kRows < op.x.rows ? kRows : op.x.rows - first;
    float* table = static_cast<float*>(worker_scratch(worker, kRows * 2 * d * sizeof(float)));
    for (int64_t row = 0; row < rows; ++row) {
      angles(op.coordinates.template as<float>() + (first + row) * 2,
             op.frequencies.template as<float>(), d, table + row * 2 * d);
    }
    body(task, first, rows, table);
  });
}

template <typename T>
void forward(const RopeForward& op) {
  const int64_t d = op.x.cols / op.heads;
  for_rows(op, [&](int64_t, int64_t first, int64_t rows, const float* table) {
    const T* x = op.x.as<T>() + first * op.x.stride;
    float* y = op.y.as<float>() + first * op.y.stride;
    for (int64_t c = 0; c < op.x.cols; c += d) {
      stage_rotated_rows(op.rope, table, x + c, op.x.stride, rows, d, 1.0f, y + c, op.y.stride);
    }
  });
}

template <typename T>
void backward(const RopeBackward& op) {
  const int64_t d = op.x.cols / op.heads, tasks = (op.x.rows + kRows - 1) / kRows;
  const bool frequencies = static_cast<bool>(op.grad_frequencies);
  float* partials =
      frequencies ? static_cast<float*>(op_scratch(tasks * 2 * d * sizeof(float))) : nullptr;
  for_rows(op, [&](int64_t task, int64_t first, int64_t rows, const float* table) {
    float* partial = frequencies ? partials + task * 2 * d : nullptr;
    for (int64_t i = 0; frequencies && i < 2 * d; ++i) partial[i] = 0.0f;
    const T* x = op.x.as<T>() + first * op.x.stride;
    const float* grad_y = op.grad_y.as<float>() + first * op.grad_y.stride;
    T* grad_x = op.grad_x.as<T>() + first * op.grad_x.stride;
    const float* coordinates = op.coordinates.as<float>() + first * 2;
    for (int64_t c = 0; c < op.x.cols; c += d) {
      const FrequencyGradient<T> sums{partial, coordinates, x + c, op.x.stride};
      unstage_rotated_rows(op.rope, table, grad_y + c, op.grad_y.stride, rows, d, 1.0f, grad_x + c,
                           op.grad_x.stride, sums);
    }
  });
  for (int64_t i = 0; frequencies && i < 2 * d; ++i) {
    float total = 0.0f;
    for (int64_t task = 0; task < tasks; ++task) total += partials[task * 2 * d + i];
    op.grad_frequencies.as<float>()[i] = total;
  }
}

}  // namespace

void rope_forward_cpu(const RopeForward& op) {
  with_floating(op.x.dtype, [&](auto x) { forward<decltype(x)>(op); });
}

void rope_backward_cpu(const RopeBackward& op) {
  with_floating(op.x.dtype, [&](auto x) { backward<decltype(x)>(op); });
}

}  // namespace capi::CAPI_ISA
