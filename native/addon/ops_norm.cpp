#include "addon/args.h"
#include "addon/ops.h"
#include "ops/norm/l2_normalize.h"
#include "ops/norm/rms_norm.h"
#include "ops/norm/weight_norm.h"

namespace capi::addon {

namespace {

Napi::Value rms_norm_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "rms_norm_forward", [](Args& args) {
    capi::rms_norm_forward({.x = args.matrix("x"),
                            .weight = args.optional_matrix("weight"),
                            .y = args.matrix("y"),
                            .rstd = args.optional_matrix("rstd"),
                            .eps = args.f32("eps"),
                            .map = args.row_map()},
                           args.stream());
  });
}

Napi::Value rms_norm_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "rms_norm_backward", [](Args& args) {
    capi::rms_norm_backward({.x = args.matrix("x"),
                             .weight = args.optional_matrix("weight"),
                             .rstd = args.matrix("rstd"),
                             .grad_y = args.matrix("gradY"),
                             .grad_x = args.matrix("gradX"),
                             .grad_weight = args.optional_matrix("gradWeight"),
                             .y = args.optional_matrix("y"),
                             .accumulate = args.boolean("accumulate", false),
                             .map = args.row_map()},
                            args.stream());
  });
}

Napi::Value l2_normalize_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "l2_normalize_forward", [](Args& args) {
    capi::l2_normalize_forward({.x = args.matrix("x"),
                                .y = args.matrix("y"),
                                .inv_norm = args.optional_matrix("invNorm"),
                                .eps = args.f32("eps")},
                               args.stream());
  });
}

Napi::Value l2_normalize_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "l2_normalize_backward", [](Args& args) {
    capi::l2_normalize_backward({.y = args.matrix("y"),
                                 .inv_norm = args.matrix("invNorm"),
                                 .grad_y = args.matrix("gradY"),
                                 .grad_x = args.matrix("gradX")},
                                args.stream());
  });
}

Napi::Value weight_norm_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "weight_norm_forward", [](Args& args) {
    capi::weight_norm_forward({.v = args.matrix("v"),
                               .g = args.matrix("g"),
                               .weight = args.matrix("weight"),
                               .eps = args.f32("eps")},
                              args.stream());
  });
}

Napi::Value weight_norm_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "weight_norm_backward", [](Args& args) {
    capi::weight_norm_backward({.v = args.matrix("v"),
                                .g = args.matrix("g"),
                                .grad_weight = args.matrix("gradWeight"),
                                .grad_v = args.matrix("gradV"),
                                .grad_g = args.matrix("gradG"),
                                .eps = args.f32("eps")},
                               args.stream());
  });
}

}  // namespace

void export_norm_ops(Napi::Object exports) {
  export_functions(exports, {{"rmsNormForward", rms_norm_forward},
                             {"rmsNormBackward", rms_norm_backward},
                             {"l2NormalizeForward", l2_normalize_forward},
                             {"l2NormalizeBackward", l2_normalize_backward},
                             {"weightNormForward", weight_norm_forward},
                             {"weightNormBackward", weight_norm_backward}});
}

}  // namespace capi::addon
