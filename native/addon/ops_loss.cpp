#include "addon/args.h"
#include "addon/ops.h"
#include "ops/loss/soft_cross_entropy.h"

namespace capi::addon {

namespace {

Napi::Value soft_cross_entropy(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "soft_cross_entropy", [](Args& args) {
    capi::soft_cross_entropy({.logits = args.matrix("logits"),
                              .targets = args.matrix("targets"),
                              .loss = args.matrix("loss"),
                              .grad_logits = args.optional_matrix("gradLogits"),
                              .temperature = args.number("temperature")},
                             args.stream());
  });
}

}  // namespace

void export_loss_ops(Napi::Object exports) {
  export_functions(exports, {{"softCrossEntropy", soft_cross_entropy}});
}

}  // namespace capi::addon
