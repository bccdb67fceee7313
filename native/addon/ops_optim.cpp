#include "addon/args.h"
#include "addon/ops.h"
#include "ops/optim/adamw.h"
#include "ops/optim/finite.h"

namespace capi::addon {

namespace {

Napi::Value adamw_ema(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "adamw_ema", [](Args& args) {
    capi::adamw_ema({.param = args.matrix("param"),
                     .grad = args.matrix("grad"),
                     .m = args.matrix("m"),
                     .v = args.matrix("v"),
                     .ema = args.optional_matrix("ema"),
                     .param_bf16 = args.optional_matrix("paramBf16"),
                     .ema_bf16 = args.optional_matrix("emaBf16"),
                     .segments = args.matrix("segments"),
                     .multipliers = args.matrix("multipliers"),
                     .scalars = args.matrix("scalars"),
                     .step = args.matrix("step"),
                     .nonfinite = args.optional_matrix("nonfinite"),
                     .beta1 = args.number("beta1"),
                     .beta2 = args.number("beta2"),
                     .eps = args.number("eps")},
                    args.stream());
  });
}

Napi::Value count_nonfinite(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "count_nonfinite", [](Args& args) {
    capi::count_nonfinite({.x = args.matrix("x"),
                           .count = args.matrix("count"),
                           .accumulate = args.boolean("accumulate", false)},
                          args.stream());
  });
}

}  // namespace

void export_optim_ops(Napi::Object exports) {
  export_functions(exports, {{"adamwEma", adamw_ema}, {"countNonfinite", count_nonfinite}});
}

}  // namespace capi::addon
