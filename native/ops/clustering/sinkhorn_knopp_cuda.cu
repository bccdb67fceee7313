#include "ops/clustering/sinkhorn_knopp.h"

#include "core/cuda/carver.h"
#include "ops/clustering/chunk_sums_cuda.h"
#include "ops/clustering/clustering_loss_cuda.h"
#include "ops/clustering/sinkhorn_scaling_cuda.h"

namespace capi {

using namespace sinkhorn;

namespace {

float* take_partials(Carver& carver, const Groups& groups) {
  return carver.take<float>(groups.all_chunks() * groups.columns);
}

}  // namespace

void sinkhorn_column_max_cuda(const SinkhornColumnMax& op, DeviceQueue& queue) {
  const Groups groups = groups_of(op.logits, op.groups);
  float* const partials = carve(queue, [&](Carver& c) { return take_partials(c, groups); });
  column_max_pass(op.logits, groups, op.accumulate, op.column_max.as<float>(), partials,
                  queue.handle());
}

void sinkhorn_column_sums_cuda(const SinkhornColumnSums& op, DeviceQueue& queue) {
  const Groups groups = groups_of(op.logits, op.groups);
  float* const partials = carve(queue, [&](Carver& c) { return take_partials(c, groups); });
  column_sums_pass(op.logits, groups, op.target_temp, op.column_max.as<float>(),
                   op.column_scale.as<float>(), op.row_scale.as<float>(), partials, queue.handle());
  add_partials(partials, groups.groups, groups.chunks, groups.columns, op.accumulate,
               op.column_sums.as<float>(), {}, queue.handle());
}

void sinkhorn_update_columns_cuda(const SinkhornUpdateColumns& op, DeviceQueue& queue) {
  update_columns(op.column_sums.as<float>(), op.column_sums.size(),
                 {op.column_scale.as<float>(), op.first}, queue.handle());
}

void clustering_loss_cuda(const ClusteringLoss& op, DeviceQueue& queue) {
  const Groups groups = groups_of(op.logits, op.groups);
  const LossPartials partials = carve(queue, [&](Carver& c) {
    return LossPartials{c.take<double>(groups.all_chunks()), take_partials(c, groups)};
  });
  loss_pass(op, groups, op.column_max.as<float>(), op.column_scale.as<float>(),
            op.row_scale.as<float>(), partials, queue.handle());
}

// The phases, one after the other: 2 + iterations traversals of the logits. Each reads all groups
// of the op before the next begins, so that even small groups fill a GPU.
void sinkhorn_knopp_loss_cuda(const SinkhornKnoppLoss& op, DeviceQueue& queue) {
  const cudaStream_t stream = queue.handle();
  const Groups groups = groups_of(op.logits, op.groups);
  struct Arrays {
    float *column_max, *column_scale, *row_scale;
    LossPartials partials;  // grad_bias: of the column sums before
  };
  const Arrays at = carve(queue, [&](Carver& c) {
    return Arrays{c.take<float>(groups.all_columns()),
                  c.take<float>(groups.all_columns()),
                  c.take<float>(op.logits.rows),
                  {c.take<double>(groups.all_chunks()), take_partials(c, groups)}};
  });
  float* const partials = at.partials.grad_bias;

  column_max_pass(op.logits, groups, false, at.column_max, partials, stream);
  for (int64_t iteration = 0; iteration < op.iterations; ++iteration) {
    const bool first = iteration == 0;
    column_sums_pass(op.logits, groups, op.target_temp, at.column_max,
                     first ? nullptr : at.column_scale, at.row_scale, partials, stream);
    add_partials(partials, groups.groups, groups.chunks, groups.columns, false, nullptr,
                 {at.column_scale, first}, stream);
  }

  ClusteringLoss last = {};
  last.logits = op.logits;
  last.loss = op.loss;
  last.grad_logits = op.grad_logits;
  last.grad_bias = op.grad_bias;
  last.target_rows = op.target_rows;
  last.targets = op.targets;
  last.assignments = op.assignments;
  last.target_temp = op.target_temp;
  last.pred_temp = op.pred_temp;
  last.total_rows = op.total_rows;
  last.accumulate = op.accumulate;
  loss_pass(last, groups, at.column_max, op.iterations == 0 ? nullptr : at.column_scale,
            at.row_scale, at.partials, stream);
}

}  // namespace capi
