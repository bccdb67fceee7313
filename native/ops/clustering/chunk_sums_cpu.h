// Sums over the chunks of a group: each chunk leaves a partial row of f32, these are added in f64,
// in order. Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include <stdint.h>

namespace capi::CAPI_ISA::sinkhorn {

// Columns that a task over columns takes.
constexpr int64_t kStripe = 1024;

// into[k] = (accumulate: into[k] +) sum of `count` partial rows, for k in [begin, end).
void add_partials(const float* partials, int64_t count, int64_t stride, int64_t begin, int64_t end,
                  bool accumulate, float* into);

// The same for all columns of every group, in parallel.
//
//   partials  (groups, chunks, scratch_stride(columns))
//   into      (groups, columns)
void add_partials_of_groups(const float* partials, int64_t groups, int64_t chunks, int64_t columns,
                            bool accumulate, float* into);

}  // namespace capi::CAPI_ISA::sinkhorn
