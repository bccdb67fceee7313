// The groups of logits as the passes over them see them, and E of a few of their rows.
//
// A group is cut into chunks of rows, whatever the number of threads: sums over rows are taken
// within a chunk in f32, over chunks in f64 (chunk_sums_cpu.h), both in order.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include "core/simd.h"
#include "ops/clustering/sinkhorn_knopp.h"
#include "ops/loss/softmax_simd.h"

namespace capi::CAPI_ISA::sinkhorn {

constexpr int64_t kChunkRows = 128;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
// Rows of scratch are whole cache lines, and one more so that they do not fall into one cache set.
static inline int64_t scratch_stride(int64_t columns) { return (columns + 15) / 16 * 16 + 16; }

// What Sinkhorn-Knopp keeps of all groups.
struct Vectors {
  const float* column_max;    // (groups, columns)
  const float* column_scale;  // (groups, columns); null in the first pass
  float* row_scale;           // (groups, rows)
};

struct Group {
  const void* logits;  // (rows, columns)
  Dtype dtype;
  const float* column_max;
  const float* column_scale;  // null in the first pass
  float* row_scale;
  int64_t first_row;  // of the group, among the rows of all groups
  int64_t rows, columns;
  float inverse_temp;

  template <typename T>
  const T* row(int64_t i) const {
    return static_cast<const T*>(logits) + i * columns;
  }
  int64_t chunk_end(int64_t chunk) const { return smaller((chunk + 1) * kChunkRows, rows); }
};

// All groups of one op.
struct Groups {
  MatrixView logits;
  int64_t count, rows, columns, chunks;  // rows and chunks of one group
  float inverse_temp;

  Groups(const MatrixView& view, int64_t group_count, double target_temp)
      : logits(view),
        count(group_count),
        rows(view.rows / group_count),
        columns(view.cols),
        chunks(ceil_div(view.rows / group_count, kChunkRows)),
        inverse_temp(static_cast<float>(1.0 / target_temp)) {}

  int64_t all_chunks() const { return count * chunks; }
  int64_t stride() const { return scratch_stride(columns); }
  Group group(int64_t g, const Vectors& vectors) const {
    const int64_t first_row = g * rows;
    const int64_t group_bytes = rows * columns * static_cast<int64_t>(dtype_size(logits.dtype));
    return {
        .logits = logits.as<const char>() + g * group_bytes,
        .dtype = logits.dtype,
        .column_max = vectors.column_max == nullptr ? nullptr : vectors.column_max + g * columns,
        .column_scale =
            vectors.column_scale == nullptr ? nullptr : vectors.column_scale + g * columns,
        .row_scale = vectors.row_scale == nullptr ? nullptr : vectors.row_scale + first_row,
        .first_row = first_row,
        .rows = rows,
        .columns = columns,
        .inverse_temp = inverse_temp};
  }
};

// E of R rows from `row` on, into e. The padding of a ragged row is zeroed.
template <int R, typename T>
static inline void exponentials(const Group& group, int64_t row, float* e, int64_t stride) {
  const T* logits = group.row<T>(row);
  // Locals: a store through memcpy may alias the fields of group.
  const float* column_max = group.column_max;
  const int64_t columns = group.columns;
  const float inverse_temp = group.inverse_temp;
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec most = load(column_max + k, span);
    for (int i = 0; i < R; ++i) {
      const Vec x = (load(logits + i * columns + k, span) - most) * inverse_temp;
      store(e + i * stride + k, fill_beyond(exp_nonpositive(x, kExpScale50), span, 0.0f));
    }
  });
}

}  // namespace capi::CAPI_ISA::sinkhorn
