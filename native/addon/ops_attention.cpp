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

// What both directions of attention take.
template <typename Op>
Op attention(Args& args) {
  Op op;
  op.q = args.matrix("q");
  op.k = args.matrix("k");
  op.v = args.matrix("v");
  op.out = args.matrix("out");
  op.q_coordinates = args.optional_matrix("qCoordinates");
  op.k_coordinates = args.optional_matrix("kCoordinates");
  op.frequencies = args.optional_matrix("frequencies");
  op.images = args.optional_matrix("images");
  op.context_images = args.optional_matrix("contextImages");
  op.heads = args.integer("heads");
  op.n_q = args.integer("nQ");
  op.n_k = args.integer("nK");
  op.rope = rope(args);
  return op;
}

Napi::Value attention_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "attention_forward", [](Args& args) {
    auto op = attention<AttentionForward>(args);
    op.lse = args.optional_matrix("lse");
    capi::attention_forward(op, args.stream());
  });
}

Napi::Value attention_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "attention_backward", [](Args& args) {
    auto op = attention<AttentionBackward>(args);
    op.lse = args.matrix("lse");
    op.grad_out = args.matrix("gradOut");
    op.grad_q = args.matrix("gradQ");
    op.grad_k = args.matrix("gradK");
    op.grad_v = args.matrix("gradV");
    op.grad_frequencies = args.optional_matrix("gradFrequencies");
    capi::attention_backward(op, args.stream());
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
