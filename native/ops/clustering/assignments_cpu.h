// Rows of the assignments A = diag(r) E diag(c) on their way out: all of them to `assignments`,
// those with a target row to that row of `targets`.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include "core/matrix_view.h"
#include "ops/loss/softmax_simd.h"

namespace capi::CAPI_ISA::sinkhorn {

// E c of columns from k on; without column scales E itself. Zero beyond the end of the row.
template <typename Span>
static inline Vec scaled(const float* e, const float* column_scale, int64_t k, Span span) {
  const Vec a = load(e + k);
  return column_scale != nullptr ? a * load(column_scale + k, span) : a;
}

template <typename T>
static inline void write_assignment(const float* e, const float* column_scale, float r,
                                    int64_t columns, T* to) {
  for_columns(columns, [&](int64_t k, auto span) {
    store(to + k, scaled(e, column_scale, k, span) * r, span);
  });
}

struct AssignmentOutputs {
  MatrixView assignments;  // (rows, columns) f32, or absent
  MatrixView target_rows;  // (1, rows), where in targets; out of range: nowhere
  MatrixView targets;      // (P, columns) f32 | bf16, or absent

  void write(int64_t row, const float* e, const float* column_scale, float r) const {
    if (assignments) {
      write_assignment(e, column_scale, r, assignments.cols,
                       assignments.as<float>() + row * assignments.cols);
    }
    if (!targets) return;
    const int64_t target = target_rows.as<int32_t>()[row];
    if (target < 0 || target >= targets.rows) return;
    with_floating(targets.dtype, [&](auto element) {
      write_assignment(e, column_scale, r, targets.cols,
                       targets.as<decltype(element)>() + target * targets.cols);
    });
  }
};

}  // namespace capi::CAPI_ISA::sinkhorn
