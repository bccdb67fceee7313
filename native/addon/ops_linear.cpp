#include "addon/args.h"
#include "addon/ops.h"
#include "ops/linear/gemm.h"

namespace capi::addon {

namespace {

Napi::Value gemm(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "gemm", [](Args& args) {
    capi::gemm(
        {.a = args.matrix("a"),
         .b = args.matrix("b"),
         .c = args.matrix("c"),
         .transpose_a = args.boolean("transposeA", false),
         .transpose_b = args.boolean("transposeB", false),
         .alpha = args.f32("alpha", 1.0),
         .accumulate = args.boolean("accumulate", false),
         .bias = args.optional_matrix("bias"),
         .residual = args.optional_matrix("residual"),
         .gelu = args.choice<GeluEpilogue>(
             "gelu", {{"forward", GeluEpilogue::kForward}, {"backward", GeluEpilogue::kBackward}},
             GeluEpilogue::kNone),
         .pre = args.optional_matrix("pre")},
        args.stream());
  });
}

}  // namespace

void export_linear_ops(Napi::Object exports) { export_functions(exports, {{"gemm", gemm}}); }

}  // namespace capi::addon
