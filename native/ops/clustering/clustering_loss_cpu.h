// The last pass of Sinkhorn-Knopp over the rows: their last scale, then assignments, loss and
// gradient. What it leaves for each chunk is then added up. As the scaling passes
// (sinkhorn_scaling_cpu.h), it is here for one chunk and as a phase.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include "ops/clustering/sinkhorn_groups_cpu.h"
#include "ops/scratch_cpu.h"

namespace capi::CAPI_ISA::sinkhorn {

// What every chunk of every group adds to the loss and to the gradient of the bias.
struct LossPartials {
  double* losses;    // (groups * chunks)
  float* grad_bias;  // (groups * chunks, scratch_stride(columns)); null: not wanted
  int64_t stride;

  float* grad_bias_of(int64_t chunk_of_all) const {
    return grad_bias == nullptr ? nullptr : grad_bias + chunk_of_all * stride;
  }
};
LossPartials take_loss_partials(Carver& carver, const ClusteringLoss& op, const Groups& groups);

// One chunk of a group; returns its loss and overwrites grad_bias (may be null).
//
//   kept       (rows, scratch_stride(columns)): E of the whole group, or null: it is recomputed
//   e_row, work  scratch of scratch_stride(columns) each
double chunk_loss(const ClusteringLoss& op, const Group& group, int64_t chunk, const float* kept,
                  float* e_row, float* work, float* grad_bias);

// loss and grad_bias of the op from the partials of all chunks.
void add_loss_partials(const ClusteringLoss& op, const Groups& groups,
                       const LossPartials& partials);

// All of the above, every chunk a task.
void loss_phase(const ClusteringLoss& op, const Groups& groups, const Vectors& vectors,
                const LossPartials& partials);

}  // namespace capi::CAPI_ISA::sinkhorn
