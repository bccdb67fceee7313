// The last pass over the logits: the last row scales, then assignments, loss and gradient. For
// *_cuda.cu files only.
#pragma once

#include "ops/clustering/sinkhorn_groups_cuda.h"
#include "ops/clustering/sinkhorn_knopp.h"

namespace capi::sinkhorn {

// What every chunk of every group adds to the loss and to the gradient of the bias: scratch.
struct LossPartials {
  double* losses;    // (groups * chunks)
  float* grad_bias;  // (groups * chunks, columns)
};

// Everything that `op` asks for; its vectors are given apart. column_scale null: A = E.
void loss_pass(const ClusteringLoss& op, const Groups& groups, const float* column_max,
               const float* column_scale, const float* row_scale, const LossPartials& partials,
               cudaStream_t stream);

}  // namespace capi::sinkhorn
