#include "addon/runtime.h"

#include <cmath>

#include "addon/args.h"
#include "addon/graph.h"
#include "addon/handles.h"
#include "core/cpu_isa.h"
#include "core/device.h"
#include "core/storage.h"
#include "core/thread_pool.h"

namespace capi::addon {

Napi::Error coded_error(Napi::Env env, const Error& error) {
  Napi::Error js = Napi::Error::New(env, error.what());
  js.Set("code", error_code_name(error.code()));
  return js;
}

void expect_not_capturing(Napi::Env env, const char* what) {
  if (!Runtime::of(env).capturing) return;
  throw Error(ErrorCode::kInvalidArgument,
              std::string("[graph] Expected only ops while a graph is captured but received ") +
                  what + ": it cannot be replayed; do it before or after");
}

struct Pending::Settlement {
  std::shared_ptr<Pending> pending;
  std::optional<Error> failure;
  MakeValue make_value;
};

Pending::Pending(Napi::Env env)
    : deferred_(Napi::Promise::Deferred::New(env)), channel_(Channel::New(env, "capi", 0, 1)) {}

void Pending::settle(const std::shared_ptr<Pending>& pending, const Error* failure,
                     MakeValue make_value) {
  Channel channel = pending->channel_;
  auto* settlement =
      new Settlement{pending, failure == nullptr ? std::nullopt : std::optional<Error>(*failure),
                     std::move(make_value)};
  // Refused only while the environment is being torn down; then nobody waits for the promise.
  if (channel.NonBlockingCall(settlement) != napi_ok) {
    delete settlement;
    return;
  }
  channel.Release();
}

void Pending::deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Settlement* raw) {
  const std::unique_ptr<Settlement> settlement(raw);
  if (static_cast<napi_env>(env) == nullptr) return;
  const Napi::HandleScope scope(env);
  const Napi::Promise::Deferred& deferred = settlement->pending->deferred_;
  if (settlement->failure) {
    deferred.Reject(coded_error(env, *settlement->failure).Value());
  } else {
    deferred.Resolve(settlement->make_value(env));
  }
}

namespace {

Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    expect_not_capturing(info.Env(), "synchronize");
    auto pending = std::make_shared<Pending>(info.Env());
    Runtime::of(info.Env()).stream.when_done([pending](const Error* failure) {
      Pending::settle(pending, failure, [](Napi::Env env) { return env.Undefined(); });
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

Napi::Value cuda(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const CudaReport report = cuda_report();
    Napi::Object result = Napi::Object::New(env);
    result.Set("built", report.built);
    result.Set("interpreted", report.interpreted);
    if (!report.problem.empty()) result.Set("problem", report.problem);
    result.Set("lost", report.lost);
    result.Set("runtimeVersion", report.runtime_version);
    result.Set("driverVersion", report.driver_version);
    Napi::Array devices = Napi::Array::New(env);
    for (size_t i = 0; i < report.devices.size(); ++i) {
      const CudaDevice& device = report.devices[i];
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("name", device.name);
      entry.Set("capability", std::to_string(device.major) + "." + std::to_string(device.minor));
      entry.Set("multiprocessors", device.multiprocessors);
      entry.Set("totalBytes", static_cast<double>(device.total_bytes));
      entry.Set("freeBytes", static_cast<double>(device.free_bytes));
      devices.Set(static_cast<uint32_t>(i), entry);
    }
    result.Set("devices", devices);
    if (!report.cublaslt_path.empty()) {
      Napi::Object cublaslt = Napi::Object::New(env);
      cublaslt.Set("path", report.cublaslt_path);
      cublaslt.Set("version", report.cublaslt_version);
      result.Set("cublaslt", cublaslt);
    }
    return result;
  });
}

Napi::Value stats(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  const auto bytes = [&](const char* name, size_t count) {
    result.Set(name, static_cast<double>(count));
  };
  bytes("liveBytes", Storage::live_bytes(Backend::kCpu));
  bytes("peakBytes", Storage::peak_bytes(Backend::kCpu));
  bytes("deviceLiveBytes", Storage::live_bytes(Backend::kCuda));
  bytes("devicePeakBytes", Storage::peak_bytes(Backend::kCuda));
  bytes("deviceRefusedBytes", device_refused_bytes());
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
  exports.Set("cuda", Napi::Function::New(env, cuda, "cuda"));
  exports.Set("stats", Napi::Function::New(env, stats, "stats"));
}

}  // namespace capi::addon
