// What one JavaScript environment (the main thread or a worker thread) owns: its stream and its
// classes.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <new>
#include <optional>

#include "core/error.h"
#include "core/stream.h"

namespace capi::addon {

struct CapturedGraph;  // addon/graph.h

struct Runtime {
  Napi::FunctionReference matrix_class;
  Stream stream;
  // Between begin and end of a graph: ops are recorded, nothing else may be asked.
  std::shared_ptr<CapturedGraph> capturing;

  static Runtime& of(Napi::Env env) { return *env.GetInstanceData<Runtime>(); }
};

// The JavaScript error for a native one: its message and code.
Napi::Error coded_error(Napi::Env env, const Error& error);

// Runs one exported call; with Pending the only place where a native failure becomes a JavaScript
// one.
template <typename Body>
Napi::Value guarded(const Napi::CallbackInfo& info, const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw coded_error(info.Env(), error);
  } catch (const std::bad_alloc&) {
    throw coded_error(info.Env(),
                      Error(ErrorCode::kOutOfMemory,
                            "Expected memory for a call's arguments but the system refused"));
  }
}

// Throws kInvalidArgument while a graph is captured: what waits, copies or allocates cannot be
// replayed.
void expect_not_capturing(Napi::Env env, const char* what);

// A promise that the stream's thread settles.
class Pending {
 public:
  using MakeValue = std::function<Napi::Value(Napi::Env)>;

  explicit Pending(Napi::Env env);
  Napi::Promise promise() const { return deferred_.Promise(); }
  // From any thread, once: rejects with failure unless it is null. make_value runs later, on the
  // JavaScript thread.
  static void settle(const std::shared_ptr<Pending>& pending, const Error* failure,
                     MakeValue make_value);

 private:
  struct Settlement;
  static void deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Settlement* settlement);
  using Channel = Napi::TypedThreadSafeFunction<std::nullptr_t, Settlement, deliver>;

  Napi::Promise::Deferred deferred_;
  Channel channel_;
};

// synchronize, setThreads, threads, cpuIsa, cuda, stats
void export_runtime(Napi::Env env, Napi::Object exports);

}  // namespace capi::addon
