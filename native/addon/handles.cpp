#include "addon/handles.h"

#include <atomic>
#include <cstring>
#include <vector>

#include "addon/args.h"
#include "addon/runtime.h"
#include "core/device_queue.h"

namespace capi::addon {

namespace {

constexpr napi_type_tag kMatrixTag = {0x6c1f0a7be5d34c19ULL, 0x9a3d52e8f0b7416dULL};

std::atomic<size_t> leaked{0};

[[noreturn]] void invalid(const std::string& message) {
  throw Error(ErrorCode::kInvalidArgument, message);
}

size_t size_arg(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0 && value <= 9007199254740991.0) ||
      value != static_cast<double>(static_cast<uint64_t>(value))) {
    invalid(std::string("[storage] Expected a non-negative integer for ") + name);
  }
  return static_cast<size_t>(value);
}

Backend backend_arg(const Napi::Value& value) {
  if (value.IsUndefined()) return Backend::kCpu;
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "cpu") return Backend::kCpu;
  if (name == "cuda") return Backend::kCuda;
  invalid("[storage] Expected backend cpu or cuda but received " + describe(value));
}

char* row(const MatrixView& view, int64_t index) {
  return view.as<char>() + static_cast<size_t>(index * view.stride) * dtype_size(view.dtype);
}

size_t row_bytes(const MatrixView& view) {
  return static_cast<size_t>(view.cols) * dtype_size(view.dtype);
}

// Between packed rows in host memory and a matrix on its device. On the stream's thread.
void upload(const MatrixView& target, const char* packed, Stream& stream) {
  switch (target.backend) {
    case Backend::kCpu:
      for (int64_t i = 0; i < target.rows; ++i, packed += row_bytes(target)) {
        std::memcpy(row(target, i), packed, row_bytes(target));
      }
      return;
    case Backend::kCuda:
      return stream.device().upload(target, packed);
  }
}

void download(char* packed, const MatrixView& source, Stream& stream) {
  switch (source.backend) {
    case Backend::kCpu:
      for (int64_t i = 0; i < source.rows; ++i, packed += row_bytes(source)) {
        std::memcpy(packed, row(source, i), row_bytes(source));
      }
      return;
    case Backend::kCuda:
      return stream.device().download(packed, source);
  }
}

}  // namespace

size_t leaked_storages() { return leaked.load(); }

Dtype dtype_from_name(const std::string& name) {
  for (Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF64, Dtype::kI32, Dtype::kU8}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  invalid("[tensor] Expected dtype f32, bf16, f64, i32 or u8 but received " + name);
}

Napi::Function StorageHandle::define(Napi::Env env) {
  return DefineClass(env, "Storage",
                     {InstanceMethod<&StorageHandle::matrix>("matrix"),
                      InstanceMethod<&StorageHandle::dispose>("dispose")});
}

StorageHandle::StorageHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info, [&] {
    expect_not_capturing(info.Env(), "an allocation");
    slot_->storage = std::make_shared<Storage>(size_arg(info, 0, "bytes"), backend_arg(info[1]));
    return info.Env().Undefined();
  });
}

// Garbage collection is the alarm, not the plan: owners dispose (lib/tensor/arena.ts).
StorageHandle::~StorageHandle() {
  if (slot_->storage) leaked += 1;
}

Napi::Value StorageHandle::dispose(const Napi::CallbackInfo& info) {
  slot_->storage.reset();
  return info.Env().Undefined();
}

Napi::Value StorageHandle::matrix(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    if (!slot_->storage) {
      throw Error(ErrorCode::kDisposed, "[storage] Expected live storage but it was disposed");
    }
    const size_t offset = size_arg(info, 0, "byteOffset");
    if (!info[1].IsString()) invalid("[storage] Expected a string for dtype");
    const Dtype dtype = dtype_from_name(info[1].As<Napi::String>().Utf8Value());
    const size_t rows = size_arg(info, 2, "rows");
    const size_t cols = size_arg(info, 3, "cols");
    const size_t stride = size_arg(info, 4, "stride");
    const size_t element = dtype_size(dtype);
    constexpr size_t kMost = size_t{1} << 40;  // elements; keeps every product below 2^63
    const bool fits =
        rows < kMost && cols < kMost && stride < kMost && offset < kMost && stride >= cols &&
        (stride == 0 || rows <= kMost / stride) && offset % element == 0 &&
        (rows == 0 || offset + ((rows - 1) * stride + cols) * element <= slot_->storage->bytes());
    if (!fits) {
      throw Error(ErrorCode::kShapeMismatch,
                  "[storage] Expected a matrix inside " + std::to_string(slot_->storage->bytes()) +
                      " bytes but received [" + std::to_string(rows) + ", " + std::to_string(cols) +
                      "] with stride " + std::to_string(stride) + " at byte " +
                      std::to_string(offset));
    }
    const Napi::Object object = Runtime::of(info.Env()).matrix_class.New({});
    MatrixHandle* handle = MatrixHandle::Unwrap(object);
    handle->slot_ = slot_;
    handle->byte_offset_ = offset;
    handle->shape_ = {.data = nullptr,
                      .rows = static_cast<int64_t>(rows),
                      .cols = static_cast<int64_t>(cols),
                      .stride = static_cast<int64_t>(stride),
                      .dtype = dtype,
                      .backend = slot_->storage->backend()};
    return object;
  });
}

Napi::Function MatrixHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Matrix",
      {InstanceMethod<&MatrixHandle::write>("write"), InstanceMethod<&MatrixHandle::read>("read")});
}

MatrixHandle::MatrixHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kMatrixTag);
}

MatrixHandle* MatrixHandle::from(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kMatrixTag)) return nullptr;
  return Unwrap(value.As<Napi::Object>());
}

MatrixHandle::Borrowed MatrixHandle::borrow(const char* op, const char* name) const {
  if (!slot_ || !slot_->storage) {
    throw Error(ErrorCode::kDisposed, std::string("[") + op + "] Expected a live tensor for " +
                                          name + " but it was disposed");
  }
  Borrowed borrowed{shape_, slot_->storage};
  borrowed.view.data = static_cast<char*>(slot_->storage->data()) + byte_offset_;
  return borrowed;
}

void* typed_array_data(const Napi::TypedArray& array) {
  void* data = nullptr;
  if (napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, &data, nullptr, nullptr) !=
      napi_ok) {
    throw Napi::Error::New(array.Env());
  }
  return data;
}

Napi::Value MatrixHandle::write(const Napi::CallbackInfo& info) {
  return guarded(info, [&] {
    expect_not_capturing(info.Env(), "write");
    const Borrowed target = borrow("write", "the target");
    if (!info[0].IsTypedArray()) invalid("[write] Expected a typed array");
    const Napi::TypedArray source = info[0].As<Napi::TypedArray>();
    const size_t bytes = static_cast<size_t>(target.view.rows) * row_bytes(target.view);
    if (source.ByteLength() != bytes) {
      throw Error(ErrorCode::kShapeMismatch, "[write] Expected " + std::to_string(bytes) +
                                                 " bytes but received " +
                                                 std::to_string(source.ByteLength()));
    }
    // Copied now: the caller may reuse its array as soon as write returns.
    const char* from = static_cast<const char*>(typed_array_data(source));
    auto copy = std::make_shared<std::vector<char>>(from, from + bytes);
    Stream& stream = Runtime::of(info.Env()).stream;
    stream.name_next("write");
    stream.enqueue([target, copy, &stream] { upload(target.view, copy->data(), stream); });
    return info.Env().Undefined();
  });
}

Napi::Value MatrixHandle::read(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    expect_not_capturing(info.Env(), "read");
    const Borrowed source = borrow("read", "the source");
    // Allocated here, where a failure has a caller to go to.
    auto bytes = std::make_shared<std::vector<char>>(static_cast<size_t>(source.view.rows) *
                                                     row_bytes(source.view));
    Stream& stream = Runtime::of(info.Env()).stream;
    stream.name_next("read");
    stream.enqueue([source, bytes, &stream] { download(bytes->data(), source.view, stream); });
    auto pending = std::make_shared<Pending>(info.Env());
    stream.when_done([bytes, pending](const Error* failure) {
      Pending::settle(pending, failure, [bytes](Napi::Env env) -> Napi::Value {
        Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes->size());
        if (!bytes->empty()) std::memcpy(buffer.Data(), bytes->data(), bytes->size());
        return buffer;
      });
    });
    return pending->promise();
  });
}

}  // namespace capi::addon
