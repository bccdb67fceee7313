#include "ops/clustering/sinkhorn_knopp.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

void check_logits(const Expect& expect, const MatrixView& logits, int64_t groups) {
  expect.present("logits", logits);
  expect.floating("logits", logits);
  expect.contiguous("logits", logits);
  expect.that(logits.rows > 0 && logits.cols > 0, "logits with rows and columns",
              shape_text(logits), ErrorCode::kShapeMismatch);
  expect.that(groups > 0 && logits.rows % groups == 0, "groups to divide the rows of logits",
              std::to_string(groups) + " groups of " + shape_text(logits));
}

void check_state(const Expect& expect, const char* name, const MatrixView& m, int64_t rows,
                 int64_t cols) {
  expect.matrix(name, m, rows, cols, Dtype::kF32);
  expect.contiguous(name, m);
}

void check_positive(const Expect& expect, const char* name, double value) {
  expect.that(value > 0 && value <= 1e30, std::string("a positive ") + name, std::to_string(value));
}

// The outputs that ClusteringLoss and SinkhornKnoppLoss share.
template <typename Op>
void check_outputs(const Expect& expect, const Op& op) {
  const MatrixView& logits = op.logits;
  check_positive(expect, "target_temp", op.target_temp);
  check_positive(expect, "pred_temp", op.pred_temp);
  check_positive(expect, "total_rows", op.total_rows);
  if (op.loss) expect.matrix("loss", op.loss, 1, 1, Dtype::kF64);
  if (op.grad_logits) {
    expect.matrix("grad_logits", op.grad_logits, logits.rows, logits.cols, logits.dtype);
    expect.contiguous("grad_logits", op.grad_logits);
  }
  if (op.grad_bias) check_state(expect, "grad_bias", op.grad_bias, 1, logits.cols);
  expect.that(static_cast<bool>(op.targets) == static_cast<bool>(op.target_rows),
              "targets and target_rows together", "one of them");
  if (op.targets) {
    expect.matrix("target_rows", op.target_rows, 1, logits.rows, Dtype::kI32);
    expect.shape("targets", op.targets, op.targets.rows, logits.cols);
    expect.floating("targets", op.targets);
    expect.contiguous("targets", op.targets);
  }
  if (op.assignments) {
    check_state(expect, "assignments", op.assignments, logits.rows, logits.cols);
  }
  expect.same_backend(
      {logits, op.loss, op.grad_logits, op.grad_bias, op.target_rows, op.targets, op.assignments});
}

}  // namespace

void sinkhorn_column_max(const SinkhornColumnMax& op, Stream* stream) {
  const Expect expect("sinkhorn_column_max");
  check_logits(expect, op.logits, op.groups);
  check_state(expect, "column_max", op.column_max, op.groups, op.logits.cols);
  expect.same_backend({op.logits, op.column_max});
  switch (op.logits.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { sinkhorn_column_max_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { sinkhorn_column_max_cuda(op, stream->device()); });
  }
}

void sinkhorn_column_sums(const SinkhornColumnSums& op, Stream* stream) {
  const Expect expect("sinkhorn_column_sums");
  check_logits(expect, op.logits, op.groups);
  check_positive(expect, "target_temp", op.target_temp);
  check_state(expect, "column_max", op.column_max, op.groups, op.logits.cols);
  if (op.column_scale) {
    check_state(expect, "column_scale", op.column_scale, op.groups, op.logits.cols);
  }
  check_state(expect, "row_scale", op.row_scale, 1, op.logits.rows);
  check_state(expect, "column_sums", op.column_sums, op.groups, op.logits.cols);
  expect.same_backend({op.logits, op.column_max, op.column_scale, op.row_scale, op.column_sums});
  switch (op.logits.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { sinkhorn_column_sums_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { sinkhorn_column_sums_cuda(op, stream->device()); });
  }
}

void sinkhorn_update_columns(const SinkhornUpdateColumns& op, Stream* stream) {
  const Expect expect("sinkhorn_update_columns");
  const MatrixView& sums = op.column_sums;
  check_state(expect, "column_sums", sums, sums.rows, sums.cols);
  check_state(expect, "column_scale", op.column_scale, sums.rows, sums.cols);
  expect.same_backend({sums, op.column_scale});
  switch (sums.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { sinkhorn_update_columns_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { sinkhorn_update_columns_cuda(op, stream->device()); });
  }
}

void clustering_loss(const ClusteringLoss& op, Stream* stream) {
  const Expect expect("clustering_loss");
  check_logits(expect, op.logits, op.groups);
  check_state(expect, "column_max", op.column_max, op.groups, op.logits.cols);
  if (op.column_scale) {
    check_state(expect, "column_scale", op.column_scale, op.groups, op.logits.cols);
    check_state(expect, "row_scale", op.row_scale, 1, op.logits.rows);
  }
  check_outputs(expect, op);
  expect.same_backend({op.logits, op.column_max, op.column_scale, op.row_scale});
  switch (op.logits.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { clustering_loss_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { clustering_loss_cuda(op, stream->device()); });
  }
}

void sinkhorn_knopp_loss(const SinkhornKnoppLoss& op, Stream* stream) {
  const Expect expect("sinkhorn_knopp_loss");
  check_logits(expect, op.logits, op.groups);
  expect.that(op.iterations >= 0 && op.iterations <= 1000, "iterations in [0, 1000]",
              std::to_string(op.iterations));
  check_outputs(expect, op);
  switch (op.logits.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { sinkhorn_knopp_loss_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { sinkhorn_knopp_loss_cuda(op, stream->device()); });
  }
}

}  // namespace capi
