#include "addon/args.h"
#include "addon/ops.h"
#include "ops/tensor/cast.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/fill_random.h"
#include "ops/tensor/sum_rows.h"

namespace capi::addon {

namespace {

Napi::Value zero(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "zero",
                    [](Args& args) { capi::zero({.x = args.matrix("x")}, args.stream()); });
}

Napi::Value copy(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "copy", [](Args& args) {
    capi::copy({.x = args.matrix("x"), .y = args.matrix("y")}, args.stream());
  });
}

Napi::Value cast(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "cast", [](Args& args) {
    capi::cast({.x = args.matrix("x"), .y = args.matrix("y")}, args.stream());
  });
}

Napi::Value fill_random(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "fill_random", [](Args& args) {
    capi::fill_random({.x = args.matrix("x"),
                       .distribution = args.choice<Distribution>(
                           "distribution", {{"uniform", Distribution::kUniform},
                                            {"normal", Distribution::kNormal}}),
                       .scale = args.f32("scale"),
                       .seed = args.u64("seed"),
                       .stream = args.integer("stream")},
                      args.stream());
  });
}

Napi::Value sum_rows(const Napi::CallbackInfo& info) {
  return enqueue_op(info, "sum_rows", [](Args& args) {
    capi::sum_rows({.x = args.matrix("x"), .y = args.matrix("y"), .scale = args.f32("scale", 1)},
                   args.stream());
  });
}

}  // namespace

void export_tensor_ops(Napi::Object exports) {
  export_functions(exports, {{"zero", zero},
                             {"copy", copy},
                             {"cast", cast},
                             {"fillRandom", fill_random},
                             {"sumRows", sum_rows}});
}

}  // namespace capi::addon
