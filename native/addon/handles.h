// JavaScript handles of native memory. A Storage handle owns bytes; Matrix handles are typed views
// of it that become invalid when it is disposed. Work in flight keeps its own pointer, so disposing
// is always safe.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include "core/matrix_view.h"
#include "core/storage.h"

namespace capi::addon {

// What a Storage handle and all of its Matrix handles share.
struct Slot {
  std::shared_ptr<Storage> storage;  // null once disposed
};

// new Storage(bytes, 'cpu' | 'cuda' = 'cpu'); .matrix(byteOffset, dtype, rows, cols, stride);
// .dispose()
class StorageHandle : public Napi::ObjectWrap<StorageHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit StorageHandle(const Napi::CallbackInfo& info);
  ~StorageHandle() override;

 private:
  Napi::Value matrix(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Slot> slot_ = std::make_shared<Slot>();
};

// .write(typedArray) enqueues a copy into the matrix; .read() promises its bytes, packed.
class MatrixHandle : public Napi::ObjectWrap<MatrixHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit MatrixHandle(const Napi::CallbackInfo& info);

  struct Borrowed {
    MatrixView view;
    std::shared_ptr<Storage> storage;
  };
  // Throws kDisposed, naming op and argument.
  Borrowed borrow(const char* op, const char* name) const;
  // Null when value is not a Matrix handle of this addon.
  static MatrixHandle* from(const Napi::Value& value);

 private:
  friend class StorageHandle;
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);

  std::shared_ptr<Slot> slot_;
  size_t byte_offset_ = 0;
  MatrixView shape_;  // without a pointer
};

// Where a typed array's bytes lie, whether an ArrayBuffer or a SharedArrayBuffer holds them.
void* typed_array_data(const Napi::TypedArray& array);

Dtype dtype_from_name(const std::string& name);
// Storages that were garbage-collected without dispose(): should stay 0.
size_t leaked_storages();

}  // namespace capi::addon
