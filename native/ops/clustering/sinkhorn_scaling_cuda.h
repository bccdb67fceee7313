// The passes that find r and c of A = diag(r) E diag(c), one traversal of the logits each. For
// *_cuda.cu files only.
#pragma once

#include "ops/clustering/sinkhorn_groups_cuda.h"

namespace capi::sinkhorn {

// Vectors are laid out as in sinkhorn_knopp.h; partials is scratch: (groups * chunks, columns).

void column_max_pass(const MatrixView& logits, const Groups& groups, bool accumulate,
                     float* column_max, float* partials, cudaStream_t stream);

// Without column_scale (null) row_scale becomes 1. Leaves the sums over each chunk in partials.
void column_sums_pass(const MatrixView& logits, const Groups& groups, double target_temp,
                      const float* column_max, const float* column_scale, float* row_scale,
                      float* partials, cudaStream_t stream);

}  // namespace capi::sinkhorn
