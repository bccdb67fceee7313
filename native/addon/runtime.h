// What one JavaScript environment (the main thread or a worker thread) owns: its stream and its
// classes.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <new>

#include "core/error.h"
#include "core/stream.h"

namespace capi::addon {

struct Runtime {
  Napi::FunctionReference matrix_class;
  Stream stream;

  static Runtime& of(Napi::Env env) { return *env.GetInstanceData<Runtime>(); }
};

// Runs one exported call; the only place where a native failure becomes a JavaScript one.
template <typename Body>
Napi::Value guarded(const Napi::CallbackInfo& info, const Body& body) {
  const auto coded = [&](const char* message, ErrorCode code) {
    Napi::Error js = Napi::Error::New(info.Env(), message);
    js.Set("code", error_code_name(code));
    return js;
  };
  try {
    return body();
  } catch (const Error& error) {
    throw coded(error.what(), error.code());
  } catch (const std::bad_alloc&) {
    throw coded("Expected memory for a call's arguments but the system refused",
                ErrorCode::kOutOfMemory);
  }
}

// A promise that the stream's thread settles.
class Pending {
 public:
  using MakeValue = std::function<Napi::Value(Napi::Env)>;

  explicit Pending(Napi::Env env);
  Napi::Promise promise() const { return deferred_.Promise(); }
  // From any thread, once. make_value runs later, on the JavaScript thread.
  static void resolve(const std::shared_ptr<Pending>& pending, MakeValue make_value);

 private:
  struct Settlement;
  static void settle(Napi::Env env, Napi::Function, std::nullptr_t*, Settlement* settlement);
  using Channel = Napi::TypedThreadSafeFunction<std::nullptr_t, Settlement, settle>;

  Napi::Promise::Deferred deferred_;
  Channel channel_;
};

// synchronize, setThreads, threads, cpuIsa, stats
void export_runtime(Napi::Env env, Napi::Object exports);

}  // namespace capi::addon
