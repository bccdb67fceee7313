#include "addon/graph.h"

#include "addon/runtime.h"
#include "core/device.h"
#include "core/device_queue.h"

namespace capi::addon {

Napi::Function GraphHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Graph",
      {InstanceMethod<&GraphHandle::begin>("begin"), InstanceMethod<&GraphHandle::end>("end"),
       InstanceMethod<&GraphHandle::replay>("replay"),
       InstanceMethod<&GraphHandle::dispose>("dispose")});
}

GraphHandle::GraphHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

Napi::Value GraphHandle::begin(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    expect_not_capturing(info.Env(), "another graph");
    expect_cuda();
    if (graph_) {
      throw Error(ErrorCode::kInvalidArgument, "[graph] Expected a new graph to begin");
    }
    Runtime& runtime = Runtime::of(info.Env());
    Stream& stream = runtime.stream;
    stream.enqueue([&stream] { stream.device().begin_capture(); });
    graph_ = runtime.capturing = std::make_shared<CapturedGraph>();
    return info.Env().Undefined();
  });
}

Napi::Value GraphHandle::end(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    Runtime& runtime = Runtime::of(info.Env());
    if (!graph_ || runtime.capturing != graph_) {
      throw Error(ErrorCode::kInvalidArgument, "[graph] Expected a graph that has begun to end");
    }
    runtime.capturing.reset();
    complete_ = true;
    Stream& stream = runtime.stream;
    stream.enqueue([&stream, graph = graph_] { graph->device = stream.device().end_capture(); });
    return info.Env().Undefined();
  });
}

Napi::Value GraphHandle::replay(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    expect_not_capturing(info.Env(), "the replay of a graph");
    if (!complete_) {
      throw Error(ErrorCode::kDisposed, "[graph] Expected a captured graph to replay");
    }
    Stream& stream = Runtime::of(info.Env()).stream;
    stream.name_next("a replayed graph");
    stream.enqueue([&stream, graph = graph_] { stream.device().replay(*graph->device); });
    return info.Env().Undefined();
  });
}

// What is replaying keeps its own pointer.
Napi::Value GraphHandle::dispose(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    if (!graph_) return info.Env().Undefined();
    Runtime& runtime = Runtime::of(info.Env());
    if (runtime.capturing == graph_) {
      end(info);
    } else {
      expect_not_capturing(info.Env(), "dispose of another graph");
    }
    complete_ = false;
    // Dropped on the stream's thread, after the work that uses it.
    runtime.stream.when_done([graph = std::move(graph_)](const Error*) {});
    return info.Env().Undefined();
  });
}

}  // namespace capi::addon
