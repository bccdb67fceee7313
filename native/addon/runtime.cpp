#include "addon/runtime.h"

#include <cmath>

#include "addon/args.h"
#include "addon/handles.h"
#include "core/cpu_isa.h"
#include "core/storage.h"
#include "core/thread_pool.h"

namespace capi::addon {

struct Pending::Settlement {
  std::shared_ptr<Pending> pending;
  MakeValue make_value;
};

Pending::Pending(Napi::Env env)
    : deferred_(Napi::Promise::Deferred::New(env)), channel_(Channel::New(env, "capi", 0, 1)) {}

void Pending::resolve(const std::shared_ptr<Pending>& pending, MakeValue make_value) {
  Channel channel = pending->channel_;
  auto* settlement = new Settlement{pending, std::move(make_value)};
  // Refused only while the environment is being torn down; then nobody waits for the promise.
  if (channel.NonBlockingCall(settlement) != napi_ok) {
    delete settlement;
    return;
  }
  channel.Release();
}

void Pending::settle(Napi::Env env, Napi::Function, std::nullptr_t*, Settlement* raw) {
  const std::unique_ptr<Settlement> settlement(raw);
  if (static_cast<napi_env>(env) == nullptr) return;
  const Napi::HandleScope scope(env);
  settlement->pending->deferred_.Resolve(settlement->make_value(env));
}

namespace {

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto pending = std::make_shared<Pending>(info.Env());
    Runtime::of(info.Env()).stream.enqueue([pending] {
      Pending::resolve(pending, [](Napi::Env env) { return env.Undefined(); });
    });
    return pending->promise();
  });
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    const double count = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
    if (!(count >= 1 && count <= 1024) || count != std::floor(count)) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "[threads] Expected a thread count in [1, 1024] but received " + describe(info[0]));
    }
    set_thread_count(static_cast<int>(count));
    return info.Env().Undefined();
  });
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), thread_count());
}

Napi::Value cpu_isa_text(const Napi::CallbackInfo& info) {
  return guarded(info, [&] { return Napi::String::New(info.Env(), cpu_isa_name(cpu_isa())); });
}

Napi::Value stats(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveBytes", static_cast<double>(Storage::live_bytes()));
  result.Set("peakBytes", static_cast<double>(Storage::peak_bytes()));
  result.Set("scratchBytes", static_cast<double>(scratch_bytes()));
  result.Set("leakedStorages", static_cast<double>(leaked_storages()));
  return result;
}

}  // namespace

void export_runtime(Napi::Env env, Napi::Object exports) {
  exports.Set("synchronize", Napi::Function::New(env, synchronize, "synchronize"));
  exports.Set("setThreads", Napi::Function::New(env, set_threads, "setThreads"));
  exports.Set("threads", Napi::Function::New(env, threads, "threads"));
  exports.Set("cpuIsa", Napi::Function::New(env, cpu_isa_text, "cpuIsa"));
  exports.Set("stats", Napi::Function::New(env, stats, "stats"));
}

}  // namespace capi::addon
