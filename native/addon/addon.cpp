// The module's entry: one Runtime per environment, then the exports of every family of ops.
#include <napi.h>

#include "addon/graph.h"
#include "addon/handles.h"
#include "addon/ops.h"
#include "addon/runtime.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* runtime = new capi::addon::Runtime();
  env.SetInstanceData(runtime);
  // Hooks run before the environment frees the channels that work on the stream may still resolve.
  env.AddCleanupHook([](capi::addon::Runtime* data) { data->stream.stop(); }, runtime);
  runtime->matrix_class = Napi::Persistent(capi::addon::MatrixHandle::define(env));
  exports.Set("Graph", capi::addon::GraphHandle::define(env));
  exports.Set("Storage", capi::addon::StorageHandle::define(env));
  capi::addon::export_runtime(env, exports);
  capi::addon::export_attention_ops(exports);
  capi::addon::export_clustering_ops(exports);
  capi::addon::export_image_ops(exports);
  capi::addon::export_linear_ops(exports);
  capi::addon::export_loss_ops(exports);
  capi::addon::export_norm_ops(exports);
  capi::addon::export_optim_ops(exports);
  capi::addon::export_patches_ops(exports);
  capi::addon::export_residual_ops(exports);
  capi::addon::export_tensor_ops(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(capi, init)
