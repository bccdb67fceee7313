// Sums over the chunks of a group: each chunk leaves a partial row of f32, these are added in f64,
// in an order of their count only. For *_cuda.cu files only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace capi::sinkhorn {

struct ColumnUpdate {
  float* column_scale = nullptr;  // (groups, columns); null: sums only
  bool first = false;
};

// into[g] = (accumulate: into[g] +) sum of the partial rows of group g; then takes the sums into
// the column scales.
//
//   partials  (groups, count, columns)
//   into      (groups, columns), or null: only the column scales want the sums
void add_partials(const float* partials, int64_t groups, int64_t count, int64_t columns,
                  bool accumulate, float* into, const ColumnUpdate& update, cudaStream_t stream);

// The column scales from given sums of as many columns.
void update_columns(const float* column_sums, int64_t columns, const ColumnUpdate& update,
                    cudaStream_t stream);

// loss = (accumulate: loss +) sum of count partial losses / total_rows.
void add_losses(const double* partials, int64_t count, double total_rows, bool accumulate,
                double* loss, cudaStream_t stream);

}  // namespace capi::sinkhorn
