// JavaScript handle of a CUDA graph: the ops between begin and end, to be enqueued again at the
// cost of one call. It keeps the memory of every tensor that those ops use.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "core/storage.h"

namespace capi {
class DeviceGraph;
}

namespace capi::addon {

// What a graph holds on to; the stream fills in the device's part.
struct CapturedGraph {
  std::vector<std::shared_ptr<Storage>> storages;
  std::shared_ptr<DeviceGraph> device;
};

// new Graph(); .begin(); ops…; .end(); .replay(); .dispose()
class GraphHandle : public Napi::ObjectWrap<GraphHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit GraphHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value begin(const Napi::CallbackInfo& info);
  Napi::Value end(const Napi::CallbackInfo& info);
  Napi::Value replay(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<CapturedGraph> graph_;
  bool complete_ = false;
};

}  // namespace capi::addon
