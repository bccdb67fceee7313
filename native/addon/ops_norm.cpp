#include "addon/args.h"
#include "addon/ops.h"
#include "ops/norm/rms_norm.h"

namespace capi::addon {

namespace {

Napi::Value rms_norm_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "rms_norm_forward", [](Args& args) {
    capi::rms_norm_forward({.x = args.matrix("x"),
                            .weight = args.optional_matrix("weight"),
                            .y = args.matrix("y"),
                            .rstd = args.optional_matrix("rstd"),
                            .eps = static_cast<float>(args.number("eps")),
                            .map = args.row_map()},
                           args.stream());
  });
}

}  // namespace

void export_norm_ops(Napi::Object exports) {
  export_functions(exports, {{"rmsNormForward", rms_norm_forward}});
}

}  // namespace capi::addon
