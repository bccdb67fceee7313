#include "addon/args.h"
#include "addon/ops.h"
#include "ops/patches/coordinates.h"
#include "ops/patches/gather.h"
#include "ops/patches/masks.h"
#include "ops/patches/tokens.h"

namespace capi::addon {

namespace {

Napi::Value gather_rows(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "gather_rows", [](Args& args) {
    capi::gather_rows(
        {.x = args.matrix("x"), .indices = args.matrix("indices"), .y = args.matrix("y")},
        args.stream());
  });
}

Napi::Value tokens_forward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "tokens_forward", [](Args& args) {
    capi::tokens_forward({.tokens = args.matrix("tokens"),
                          .registers = args.optional_matrix("registers"),
                          .patches = args.optional_matrix("patches"),
                          .mask_token = args.optional_matrix("maskToken"),
                          .positions = args.optional_matrix("positions"),
                          .visible = args.optional_matrix("visible"),
                          .masked = args.optional_matrix("masked"),
                          .batch = args.integer("batch"),
                          .n_registers = args.integer("nRegisters"),
                          .n_visible = args.integer("nVisible"),
                          .n_masked = args.integer("nMasked")},
                         args.stream());
  });
}

Napi::Value tokens_backward(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "tokens_backward", [](Args& args) {
    capi::tokens_backward({.grad_tokens = args.matrix("gradTokens"),
                           .grad_registers = args.optional_matrix("gradRegisters"),
                           .grad_patches = args.optional_matrix("gradPatches"),
                           .grad_mask_token = args.optional_matrix("gradMaskToken"),
                           .grad_positions = args.optional_matrix("gradPositions"),
                           .visible = args.optional_matrix("visible"),
                           .masked = args.optional_matrix("masked"),
                           .batch = args.integer("batch"),
                           .n_registers = args.integer("nRegisters"),
                           .n_visible = args.integer("nVisible"),
                           .n_masked = args.integer("nMasked")},
                          args.stream());
  });
}

Napi::Value coordinates(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "coordinates", [](Args& args) {
    capi::coordinates(
        {.out = args.matrix("out"),
         .indices = args.optional_matrix("indices"),
         .grid_rows = args.integer("gridRows"),
         .grid_cols = args.integer("gridCols"),
         .registers = args.integer("registers"),
         .register_kind = args.choice<RegisterKind>(
             "registerKind", {{"edge", RegisterKind::kEdge}, {"zeros", RegisterKind::kZeros}}),
         .scale_to_visible = args.boolean("scaleToVisible", true)},
        args.stream());
  });
}

Napi::Value generate_masks(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "generate_masks", [](Args& args) {
    capi::generate_masks(
        {.kind = args.choice<MaskKind>("kind", {{"uniform", MaskKind::kUniform},
                                                {"block", MaskKind::kBlock},
                                                {"inverse_block", MaskKind::kInverseBlock}}),
         .roll = args.boolean("roll", true),
         .min_aspect = args.number("minAspect", 0.5),
         .max_aspect = args.number("maxAspect", 2),
         .grid_rows = args.integer("gridRows"),
         .grid_cols = args.integer("gridCols"),
         .n_masked = args.integer("nMasked"),
         .seed = args.u64("seed"),
         .samples = args.matrix("samples"),
         .visible = args.optional_matrix("visible"),
         .predict = args.optional_matrix("predict")},
        args.stream());
  });
}

}  // namespace

void export_patches_ops(Napi::Object exports) {
  export_functions(exports, {{"gatherRows", gather_rows},
                             {"tokensForward", tokens_forward},
                             {"tokensBackward", tokens_backward},
                             {"coordinates", coordinates},
                             {"generateMasks", generate_masks}});
}

}  // namespace capi::addon
