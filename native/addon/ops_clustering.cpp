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

Napi::Value clustering_loss(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "clustering_loss", [](Args& args) {
    capi::clustering_loss({.logits = args.matrix("logits"),
                           .column_max = args.matrix("columnMax"),
                           .column_scale = args.optional_matrix("columnScale"),
                           .row_scale = args.optional_matrix("rowScale"),
                           .loss = args.optional_matrix("loss"),
                           .grad_logits = args.optional_matrix("gradLogits"),
                           .grad_bias = args.optional_matrix("gradBias"),
                           .target_rows = args.optional_matrix("targetRows"),
                           .targets = args.optional_matrix("targets"),
                           .assignments = args.optional_matrix("assignments"),
                           .groups = args.integer("groups"),
                           .target_temp = args.number("targetTemp"),
                           .pred_temp = args.number("predTemp"),
                           .total_rows = args.number("totalRows"),
                           .accumulate = args.boolean("accumulate", false)},
                          args.stream());
  });
}

Napi::Value sinkhorn_knopp_loss(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sinkhorn_knopp_loss", [](Args& args) {
    capi::sinkhorn_knopp_loss({.logits = args.matrix("logits"),
                               .loss = args.optional_matrix("loss"),
                               .grad_logits = args.optional_matrix("gradLogits"),
                               .grad_bias = args.optional_matrix("gradBias"),
                               .target_rows = args.optional_matrix("targetRows"),
                               .targets = args.optional_matrix("targets"),
                               .assignments = args.optional_matrix("assignments"),
                               .groups = args.integer("groups"),
                               .iterations = args.integer("iterations", 3),
                               .target_temp = args.number("targetTemp"),
                               .pred_temp = args.number("predTemp"),
                               .total_rows = args.number("totalRows"),
                               .accumulate = args.boolean("accumulate", false)},
                              args.stream());
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
