// The iterations that scale E to columns, then rows, of sum one: column maxima, then passes that
// take the row sums into r and leave column sums, then c from those.
//
// Each is here twice: for one chunk or group, for a worker that drives a group alone, and as a
// phase, in which all chunks of all groups are tasks. The same arithmetic, the same bits.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include <float.h>

#include "ops/clustering/sinkhorn_groups_cpu.h"

namespace capi::CAPI_ISA::sinkhorn {

// Rows taken together: column vectors are then read once for all of them.
constexpr int kBlockRows = 4;
// Beside the sums that r and c divide by.
constexpr float kEps = 1e-8f;

// r once the row's entries r E c sum to r row_sum.
static inline float next_row_scale(float scale, float row_sum) {
  if (row_sum == 0.0f) return 0.0f;  // every entry underflowed: the row stays zero
  const float next = scale / (scale * row_sum + kEps);
  return next > FLT_MAX ? FLT_MAX : next;
}

// into = max over rows [begin, end) of the logits.
void max_of_columns(const Group& group, int64_t begin, int64_t end, float* into);

// r takes in the row sums of one chunk (first pass: r = 1), whose column sums of r E go into `sums`
// (scratch_stride(columns) long).
//
//   kept     (rows, scratch_stride(columns)): E of the whole group, filled in the first pass, or
//            null: E is then recomputed in every pass
//   e_block  (kBlockRows, scratch_stride(columns)): where it is recomputed
void scaled_column_sums(const Group& group, int64_t chunk, float* kept, float* e_block,
                        float* sums);

// first: c = 1 / (s + 1e-8), else c = c / (c s + 1e-8), for `count` columns.
void update_column_scale(const float* sums, int64_t count, bool first, float* scale);

// partials: (groups, chunks, scratch_stride(columns)).
void max_phase(const Groups& groups, bool accumulate, float* column_max, float* partials);
void sums_phase(const Groups& groups, const Vectors& vectors, bool accumulate, float* column_sums,
                float* partials);
void update_phase(const float* sums, int64_t count, bool first, float* scale);

}  // namespace capi::CAPI_ISA::sinkhorn
