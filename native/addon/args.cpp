#include "addon/args.h"

#include <cmath>

#include "addon/graph.h"
#include "addon/handles.h"
#include "core/error.h"

namespace capi::addon {

namespace {

const char* backend_name(Backend backend) { return backend == Backend::kCuda ? "cuda" : "cpu"; }

}  // namespace

std::string describe(const Napi::Value& value) {
  if (value.IsUndefined()) return "undefined";
  if (value.IsNull()) return "null";
  if (value.IsObject()) return "an object";
  if (value.IsSymbol()) return "a symbol";  // has no conversion to a string
  return value.ToString().Utf8Value();
}

Args::Args(const Napi::CallbackInfo& info, const char* op) : env_(info.Env()), op_(op) {
  if (!info[0].IsObject()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        std::string("[") + op + "] Expected an options object but received " + describe(info[0]));
  }
  options_ = info[0].As<Napi::Object>();
}

void Args::fail(const char* name, const std::string& expected, const std::string& received) const {
  throw Error(ErrorCode::kInvalidArgument, std::string("[") + op_ + "] Expected " + expected +
                                               " for " + name + " but received " + received);
}

Napi::Value Args::get(const char* name) const { return options_.Get(name); }

MatrixView Args::matrix(const char* name) {
  const Napi::Value value = get(name);
  if (!value.IsObject()) fail(name, "a Tensor", describe(value));
  const MatrixHandle* handle = MatrixHandle::from(value.As<Napi::Object>().Get("handle"));
  if (handle == nullptr) fail(name, "a Tensor", "another object");
  MatrixHandle::Borrowed borrowed = handle->borrow(op_, name);
  expect_one_device(name, borrowed.view.backend);
  storages_.push_back(std::move(borrowed.storage));
  return borrowed.view;
}

// The front door checks it too; the names of the two are known here.
void Args::expect_one_device(const char* name, Backend backend) {
  if (storages_.empty()) {
    first_ = name;
    return;
  }
  const Backend expected = storages_.front()->backend();
  if (backend == expected) return;
  throw Error(ErrorCode::kDeviceMismatch,
              std::string("[") + op_ + "] Expected " + name + " on " + backend_name(expected) +
                  ", where " + first_ + " is, but received a tensor on " + backend_name(backend));
}

MatrixView Args::optional_matrix(const char* name) {
  return get(name).IsUndefined() ? MatrixView{} : matrix(name);
}

RowMap Args::row_map() {
  return {.images = optional_matrix("images"),
          .rows = integer("rows", 0),
          .source_rows = integer("sourceRows", 0),
          .source_offset = integer("sourceOffset", 0)};
}

double Args::number(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsNumber()) fail(name, "a number", describe(value));
  return value.As<Napi::Number>().DoubleValue();
}

double Args::number(const char* name, double otherwise) const {
  return get(name).IsUndefined() ? otherwise : number(name);
}

int64_t Args::integer(const char* name) const {
  const double value = number(name);
  if (!(std::fabs(value) <= 9007199254740991.0) || value != std::floor(value)) {
    fail(name, "an integer", describe(get(name)));
  }
  return static_cast<int64_t>(value);
}

int64_t Args::integer(const char* name, int64_t otherwise) const {
  return get(name).IsUndefined() ? otherwise : integer(name);
}

bool Args::boolean(const char* name, bool otherwise) const {
  const Napi::Value value = get(name);
  if (value.IsUndefined()) return otherwise;
  if (!value.IsBoolean()) fail(name, "true or false", describe(value));
  return value.As<Napi::Boolean>().Value();
}

std::string Args::text(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsString()) fail(name, "a string", describe(value));
  return value.As<Napi::String>().Utf8Value();
}

Args::Bytes Args::bytes(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    fail(name, "a Uint8Array", describe(value));
  }
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  return {static_cast<uint8_t*>(typed_array_data(array)), array.ByteLength()};
}

void Args::retain() {
  if (const auto& graph = Runtime::of(env_).capturing) {
    for (auto& storage : storages_) graph->storages.push_back(std::move(storage));
    return;
  }
  try {
    stream()->enqueue([storages = std::move(storages_)] {});
  } catch (const Error&) {
    // The stream failed since it took the op: nothing more runs there, and the next call says why.
  }
}

void export_functions(Napi::Object exports, std::initializer_list<NamedFunction> functions) {
  for (const NamedFunction& named : functions) {
    exports.Set(named.name, Napi::Function::New(exports.Env(), named.function, named.name));
  }
}

}  // namespace capi::addon
