// All of Sinkhorn-Knopp for complete groups: how its passes are handed to workers. Groups are tasks
// when there are enough of them (E is then computed once and kept); otherwise chunks are, phase by
// phase, and E is recomputed: the same arithmetic, the same bits.
#include "ops/clustering/sinkhorn_knopp.h"

#include "core/thread_pool.h"
#include "ops/clustering/chunk_sums_cpu.h"
#include "ops/clustering/clustering_loss_cpu.h"
#include "ops/clustering/sinkhorn_scaling_cpu.h"
#include "ops/scratch_cpu.h"

namespace capi::CAPI_ISA {

using namespace sinkhorn;

namespace {

// A worker keeps E of a group up to this size.
constexpr int64_t kKeptBytes = int64_t{16} << 20;

// The op's last pass; the vectors are handed over beside it.
ClusteringLoss last_pass(const SinkhornKnoppLoss& op) {
  return {.logits = op.logits,
          .column_max = {},
          .column_scale = {},
          .row_scale = {},
          .loss = op.loss,
          .grad_logits = op.grad_logits,
          .grad_bias = op.grad_bias,
          .target_rows = op.target_rows,
          .targets = op.targets,
          .assignments = op.assignments,
          .groups = op.groups,
          .target_temp = op.target_temp,
          .pred_temp = op.pred_temp,
          .total_rows = op.total_rows,
          .accumulate = op.accumulate};
}

struct GroupScratch {
  float *column_max, *column_scale, *column_sums, *row_scale, *partials, *e_block, *work;
  float* kept;  // null: too large to keep
};

GroupScratch take_group_scratch(Carver& carver, const Groups& groups) {
  const int64_t stride = groups.stride(), kept = groups.rows * stride;
  const bool keep = kept * static_cast<int64_t>(sizeof(float)) <= kKeptBytes;
  return {.column_max = carver.take<float>(stride),
          .column_scale = carver.take<float>(stride),
          .column_sums = carver.take<float>(stride),
          .row_scale = carver.take<float>(groups.rows),
          .partials = carver.take<float>(groups.chunks * stride),
          .e_block = carver.take<float>(kBlockRows * stride),
          .work = carver.take<float>(stride),
          .kept = keep ? carver.take<float>(kept) : nullptr};
}

// Everything for one group, by one worker.
void whole_group(const ClusteringLoss& op, int64_t iterations, const Groups& groups, int64_t g,
                 int worker, const LossPartials& loss_partials) {
  const GroupScratch scratch = carve_worker_scratch(
      worker, [&](Carver& carver) { return take_group_scratch(carver, groups); });
  const int64_t chunks = groups.chunks, columns = groups.columns, stride = groups.stride();

  Group group = groups.group(g, {});
  max_of_columns(group, 0, groups.rows, scratch.column_max);
  group.column_max = scratch.column_max;
  group.row_scale = scratch.row_scale;
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      scaled_column_sums(group, chunk, scratch.kept, scratch.e_block,
                         scratch.partials + chunk * stride);
    }
    add_partials(scratch.partials, chunks, stride, 0, columns, false, scratch.column_sums);
    update_column_scale(scratch.column_sums, columns, iteration == 0, scratch.column_scale);
    group.column_scale = scratch.column_scale;
  }
  const float* kept = iterations == 0 ? nullptr : scratch.kept;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t task = g * chunks + chunk;
    loss_partials.losses[task] = chunk_loss(op, group, chunk, kept, scratch.e_block, scratch.work,
                                            loss_partials.grad_bias_of(task));
  }
}

void by_groups(const ClusteringLoss& op, int64_t iterations, const Groups& groups) {
  const LossPartials partials =
      carve_op_scratch([&](Carver& carver) { return take_loss_partials(carver, op, groups); });
  parallel_for(groups.count, [&](int64_t g, int worker) {
    whole_group(op, iterations, groups, g, worker, partials);
  });
  add_loss_partials(op, groups, partials);
}

struct PhaseScratch {
  LossPartials loss;
  float *partials, *column_max, *column_scale, *column_sums, *row_scale;
};

PhaseScratch take_phase_scratch(Carver& carver, const ClusteringLoss& op, const Groups& groups) {
  const int64_t entries = groups.count * groups.columns;
  return {.loss = take_loss_partials(carver, op, groups),
          .partials = carver.take<float>(groups.all_chunks() * groups.stride()),
          .column_max = carver.take<float>(entries),
          .column_scale = carver.take<float>(entries),
          .column_sums = carver.take<float>(entries),
          .row_scale = carver.take<float>(op.logits.rows)};
}

void by_phases(const ClusteringLoss& op, int64_t iterations, const Groups& groups) {
  const PhaseScratch scratch =
      carve_op_scratch([&](Carver& carver) { return take_phase_scratch(carver, op, groups); });
  Vectors vectors = {
      .column_max = scratch.column_max, .column_scale = nullptr, .row_scale = scratch.row_scale};
  max_phase(groups, false, scratch.column_max, scratch.partials);
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    sums_phase(groups, vectors, false, scratch.column_sums, scratch.partials);
    update_phase(scratch.column_sums, groups.count * groups.columns, iteration == 0,
                 scratch.column_scale);
    vectors.column_scale = scratch.column_scale;
  }
  loss_phase(op, groups, vectors, scratch.loss);
}

}  // namespace

void sinkhorn_knopp_loss_cpu(const SinkhornKnoppLoss& op) {
  const Groups groups(op.logits, op.groups, op.target_temp);
  // Threads only choose how the same sums are distributed.
  if (groups.chunks == 1 || groups.count >= 2 * thread_count()) {
    by_groups(last_pass(op), op.iterations, groups);
  } else {
    by_phases(last_pass(op), op.iterations, groups);
  }
}

}  // namespace capi::CAPI_ISA
