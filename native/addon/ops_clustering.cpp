#include "addon/args.h"
#include "addon/ops.h"
#include "ops/clustering/health.h"
#include "ops/clustering/sinkhorn_knopp.h"
#include "ops/clustering/target_rows.h"

namespace capi::addon {

namespace {

Napi::Value sinkhorn_column_max(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sinkhorn_column_max", [](Args& args) {
    capi::sinkhorn_column_max({.logits = args.matrix("logits"),
                               .column_max = args.matrix("columnMax"),
                               .groups = args.integer("groups"),
                               .accumulate = args.boolean("accumulate", false)},
                              args.stream());
  });
}

Napi::Value sinkhorn_column_sums(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sinkhorn_column_sums", [](Args& args) {
    capi::sinkhorn_column_sums({.logits = args.matrix("logits"),
                                .column_max = args.matrix("columnMax"),
                                .column_scale = args.optional_matrix("columnScale"),
                                .row_scale = args.matrix("rowScale"),
                                .column_sums = args.matrix("columnSums"),
                                .groups = args.integer("groups"),
                                .target_temp = args.number("targetTemp"),
                                .accumulate = args.boolean("accumulate", false)},
                               args.stream());
  });
}

Napi::Value sinkhorn_update_columns(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sinkhorn_update_columns", [](Args& args) {
    capi::sinkhorn_update_columns({.column_sums = args.matrix("columnSums"),
                                   .column_scale = args.matrix("columnScale"),
                                   .first = args.boolean("first", false)},
                                  args.stream());
  });
}

// What the last pass takes, alone or at the end of sinkhorn_knopp_loss.
template <typename Op>
Op loss(Args& args) {
  Op op = {};
  op.logits = args.matrix("logits");
  op.loss = args.optional_matrix("loss");
  op.grad_logits = args.optional_matrix("gradLogits");
  op.grad_bias = args.optional_matrix("gradBias");
  op.target_rows = args.optional_matrix("targetRows");
  op.targets = args.optional_matrix("targets");
  op.assignments = args.optional_matrix("assignments");
  op.groups = args.integer("groups");
  op.target_temp = args.number("targetTemp");
  op.pred_temp = args.number("predTemp");
  op.total_rows = args.number("totalRows");
  op.accumulate = args.boolean("accumulate", false);
  return op;
}

Napi::Value clustering_loss(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "clustering_loss", [](Args& args) {
    auto op = loss<ClusteringLoss>(args);
    op.column_max = args.matrix("columnMax");
    op.column_scale = args.optional_matrix("columnScale");
    op.row_scale = args.optional_matrix("rowScale");
    capi::clustering_loss(op, args.stream());
  });
}

Napi::Value sinkhorn_knopp_loss(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sinkhorn_knopp_loss", [](Args& args) {
    auto op = loss<SinkhornKnoppLoss>(args);
    op.iterations = args.integer("iterations", 3);
    capi::sinkhorn_knopp_loss(op, args.stream());
  });
}

Napi::Value target_rows(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "target_rows", [](Args& args) {
    capi::target_rows({.predict = args.matrix("predict"),
                       .target_rows = args.matrix("targetRows"),
                       .images = args.integer("images"),
                       .positions = args.integer("positions")},
                      args.stream());
  });
}

Napi::Value target_statistics(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "target_statistics", [](Args& args) {
    capi::target_statistics({.targets = args.matrix("targets"),
                             .entropy = args.matrix("entropy"),
                             .mass = args.matrix("mass")},
                            args.stream());
  });
}

Napi::Value positional_collapse(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "positional_collapse", [](Args& args) {
    capi::positional_collapse({.features = args.matrix("features"),
                               .result = args.matrix("result"),
                               .positions = args.integer("positions"),
                               .registers = args.integer("registers", 0)},
                              args.stream());
  });
}

}  // namespace

void export_clustering_ops(Napi::Object exports) {
  export_functions(exports, {{"sinkhornColumnMax", sinkhorn_column_max},
                             {"sinkhornColumnSums", sinkhorn_column_sums},
                             {"sinkhornUpdateColumns", sinkhorn_update_columns},
                             {"clusteringLoss", clustering_loss},
                             {"sinkhornKnoppLoss", sinkhorn_knopp_loss},
                             {"targetRows", target_rows},
                             {"targetStatistics", target_statistics},
                             {"positionalCollapse", positional_collapse}});
}

}  // namespace capi::addon
