// Sinkhorn-Knopp assignments of patch logits to prototypes, the clustering loss and its gradient.
//
// For each group of n rows (positionwise: a position; standard: everything):
//
//   E = exp((logits - column max) / target_temp + 50)
//   `iterations` times: divide by column sums + 1e-8, divide by row sums + 1e-8
//   A = diag(r) E diag(c)
//   loss = sum over rows of -sum_k A log_softmax(logits / pred_temp), divided by total_rows
//   grad_logits = (softmax * sum_k A - A) / (pred_temp * total_rows), with A a constant
//
// Only the vectors r and c are kept; E comes from the logits and A is never written whole. All in
// f32. A row whose every entry underflows has r = 0: no mass, no loss, no gradient.
//
//   logits        (groups * n, K)  f32 | bf16, a group's rows together
//   column_max    (groups, K)      f32, of the logits
//   column_scale  (groups, K)      f32, c
//   column_sums   (groups, K)      f32, sum over rows of r E
//   row_scale     (1, groups * n)  f32, r
//   loss          (1, 1)           f64
//   grad_logits   (groups * n, K)  dtype of logits, may be the logits themselves
//   grad_bias     (1, K)           f32, column sums of grad_logits before rounding
//   target_rows   (1, groups * n)  i32, where in `targets` this row's assignment goes; -1: nowhere
//   targets       (P, K)           f32 | bf16
//   assignments   (groups * n, K)  f32, all of A, for tests and small problems
//
// `accumulate` adds to what loss, grad_bias, column_max or column_sums hold, so that a problem can
// be streamed in chunks. total_rows counts the rows of all chunks. Sums do not depend on the number
// of threads.
//
// Positionwise, a chunk of positions whose images are all here: sinkhorn_knopp_loss.
// Standard, or images over ranks: the phases, each over every chunk, with all-reduces where marked:
//   sinkhorn_column_max                                  (all-reduce max of column_max)
//   sinkhorn_column_sums, no column_scale                (all-reduce sum of column_sums)
//   sinkhorn_update_columns, first
//   iterations - 1 times: sinkhorn_column_sums (all-reduce sum), sinkhorn_update_columns
//   clustering_loss
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

// column_max = max over each group's rows of logits.
struct SinkhornColumnMax {
  MatrixView logits, column_max;
  int64_t groups;
  bool accumulate;
};

// Without column_scale (the first pass): row_scale = 1. With it: row_scale takes in the row sums of
// diag(r) E diag(c). Then column_sums = sum over rows of r E. One traversal of the logits.
struct SinkhornColumnSums {
  MatrixView logits, column_max, column_scale, row_scale, column_sums;
  int64_t groups;
  double target_temp;
  bool accumulate;
};

// first: c = 1 / (s + 1e-8), else c = c / (c s + 1e-8).
struct SinkhornUpdateColumns {
  MatrixView column_sums, column_scale;
  bool first;
};

// Takes in the last row sums (row_scale is read, not written), then loss, gradient and targets.
// Without column_scale A = E, as after zero iterations. All outputs are optional.
struct ClusteringLoss {
  MatrixView logits, column_max, column_scale, row_scale;
  MatrixView loss, grad_logits, grad_bias, target_rows, targets, assignments;
  int64_t groups;
  double target_temp, pred_temp, total_rows;
  bool accumulate;
};

// All of the above for groups that are complete in `logits`. 0 <= iterations.
struct SinkhornKnoppLoss {
  MatrixView logits;
  MatrixView loss, grad_logits, grad_bias, target_rows, targets, assignments;
  int64_t groups, iterations;
  double target_temp, pred_temp, total_rows;
  bool accumulate;
};

void sinkhorn_column_max(const SinkhornColumnMax& op, Stream* stream);
void sinkhorn_column_sums(const SinkhornColumnSums& op, Stream* stream);
void sinkhorn_update_columns(const SinkhornUpdateColumns& op, Stream* stream);
void clustering_loss(const ClusteringLoss& op, Stream* stream);
void sinkhorn_knopp_loss(const SinkhornKnoppLoss& op, Stream* stream);

CAPI_CPU_KERNEL(sinkhorn_column_max_cpu, SinkhornColumnMax)
void sinkhorn_column_max_cuda(const SinkhornColumnMax& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(sinkhorn_column_sums_cpu, SinkhornColumnSums)
void sinkhorn_column_sums_cuda(const SinkhornColumnSums& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(sinkhorn_update_columns_cpu, SinkhornUpdateColumns)
void sinkhorn_update_columns_cuda(const SinkhornUpdateColumns& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(clustering_loss_cpu, ClusteringLoss)
void clustering_loss_cuda(const ClusteringLoss& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(sinkhorn_knopp_loss_cpu, SinkhornKnoppLoss)
void sinkhorn_knopp_loss_cuda(const SinkhornKnoppLoss& op, DeviceQueue& queue);

}  // namespace capi
