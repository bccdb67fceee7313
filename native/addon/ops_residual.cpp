#include "addon/args.h"
#include "addon/ops.h"
#include "ops/residual/drop_path.h"
#include "ops/residual/residual.h"

namespace capi::addon {

namespace {

Napi::Value residual_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "residual_forward", [](Args& args) {
    capi::residual_forward({.x = args.matrix("x"),
                            .branch = args.matrix("branch"),
                            .y = args.matrix("y"),
                            .images = args.optional_matrix("images"),
                            .rows = args.integer("rows"),
                            .scale = args.f32("scale", 1)},
                           args.stream());
  });
}

Napi::Value residual_gather(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "residual_gather", [](Args& args) {
    capi::residual_gather({.grad_y = args.matrix("gradY"),
                           .grad_branch = args.matrix("gradBranch"),
                           .images = args.optional_matrix("images"),
                           .rows = args.integer("rows"),
                           .scale = args.f32("scale", 1)},
                          args.stream());
  });
}

Napi::Value drop_path_indices(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "drop_path_indices", [](Args& args) {
    capi::drop_path_indices({.indices = args.matrix("indices"),
                             .iteration = args.matrix("iteration"),
                             .batch = args.integer("batch"),
                             .seed = args.u64("seed"),
                             .first_branch = args.integer("firstBranch", 0)},
                            args.stream());
  });
}

}  // namespace

void export_residual_ops(Napi::Object exports) {
  export_functions(exports, {{"residualForward", residual_forward},
                             {"residualGather", residual_gather},
                             {"dropPathIndices", drop_path_indices}});
}

}  // namespace capi::addon
