#include "addon/args.h"
#include "addon/ops.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope.h"

namespace capi::addon {

namespace {

Rope rope(const Args& args) {
  return args.choice<Rope>(
      "rope", {{"coupled", Rope::kCoupled}, {"axial", Rope::kAxial}, {"none", Rope::kNone}});
}

Napi::Value attention_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "attention_forward", [](Args& args) {
    capi::attention_forward({.q = args.matrix("q"),
                             .k = args.matrix("k"),
                             .v = args.matrix("v"),
                             .out = args.matrix("out"),
                             .lse = args.optional_matrix("lse"),
                             .q_coordinates = args.optional_matrix("qCoordinates"),
                             .k_coordinates = args.optional_matrix("kCoordinates"),
                             .frequencies = args.optional_matrix("frequencies"),
                             .images = args.optional_matrix("images"),
                             .context_images = args.optional_matrix("contextImages"),
                             .heads = args.integer("heads"),
                             .n_q = args.integer("nQ"),
                             .n_k = args.integer("nK"),
                             .rope = rope(args)},
                            args.stream());
  });
}

Napi::Value attention_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "attention_backward", [](Args& args) {
    capi::attention_backward({.q = args.matrix("q"),
                              .k = args.matrix("k"),
                              .v = args.matrix("v"),
                              .out = args.matrix("out"),
                              .lse = args.matrix("lse"),
                              .grad_out = args.matrix("gradOut"),
                              .grad_q = args.matrix("gradQ"),
                              .grad_k = args.matrix("gradK"),
                              .grad_v = args.matrix("gradV"),
                              .grad_frequencies = args.optional_matrix("gradFrequencies"),
                              .q_coordinates = args.optional_matrix("qCoordinates"),
                              .k_coordinates = args.optional_matrix("kCoordinates"),
                              .frequencies = args.optional_matrix("frequencies"),
                              .images = args.optional_matrix("images"),
                              .context_images = args.optional_matrix("contextImages"),
                              .heads = args.integer("heads"),
                              .n_q = args.integer("nQ"),
                              .n_k = args.integer("nK"),
                              .rope = rope(args)},
                             args.stream());
  });
}

Napi::Value rope_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "rope_forward", [](Args& args) {
    capi::rope_forward({.x = args.matrix("x"),
                        .y = args.matrix("y"),
                        .coordinates = args.matrix("coordinates"),
                        .frequencies = args.matrix("frequencies"),
                        .heads = args.integer("heads"),
                        .rope = rope(args)},
                       args.stream());
  });
}

Napi::Value rope_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "rope_backward", [](Args& args) {
    capi::rope_backward({.x = args.matrix("x"),
                         .grad_y = args.matrix("gradY"),
                         .grad_x = args.matrix("gradX"),
                         .grad_frequencies = args.optional_matrix("gradFrequencies"),
                         .coordinates = args.matrix("coordinates"),
                         .frequencies = args.matrix("frequencies"),
                         .heads = args.integer("heads"),
                         .rope = rope(args)},
                        args.stream());
  });
}

}  // namespace

void export_attention_ops(Napi::Object exports) {
  export_functions(exports, {{"attentionForward", attention_forward},
                             {"attentionBackward", attention_backward},
                             {"ropeForward", rope_forward},
                             {"ropeBackward", rope_backward}});
}

}  // namespace capi::addon
