// Reads the one options object of an op call, with errors that name op and property, and keeps the
// memory of every tensor alive until the stream has run the op.
#pragma once

#include <napi.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/runtime.h"
#include "core/matrix_view.h"
#include "core/row_map.h"
#include "core/storage.h"

namespace capi::addon {

// How messages call a value that was received.
std::string describe(const Napi::Value& value);

class Args {
 public:
  Args(const Napi::CallbackInfo& info, const char* op);

  // A tensor: an object whose `handle` is a Matrix of this addon. All of an op lie on one device.
  MatrixView matrix(const char* name);
  // An empty view when the property is undefined.
  MatrixView optional_matrix(const char* name);
  // The properties images, rows, sourceRows and sourceOffset, all optional.
  RowMap row_map();
  double number(const char* name) const;
  double number(const char* name, double otherwise) const;
  int64_t integer(const char* name) const;
  int64_t integer(const char* name, int64_t otherwise) const;
  // A number and an integer in the types that ops take; a negative seed is its 64 bits.
  float f32(const char* name) const { return static_cast<float>(number(name)); }
  float f32(const char* name, double otherwise) const {
    return static_cast<float>(number(name, otherwise));
  }
  uint64_t u64(const char* name) const { return static_cast<uint64_t>(integer(name)); }
  bool boolean(const char* name, bool otherwise) const;
  std::string text(const char* name) const;

  // One of several words: args.choice<RopeKind>("rope", {{"coupled", RopeKind::kCoupled}, …}).
  template <typename Value>
  Value choice(const char* name,
               std::initializer_list<std::pair<const char*, Value>> choices) const {
    const std::string word = text(name);
    std::string expected;
    for (const auto& [choice, value] : choices) {
      if (word == choice) return value;
      expected += (expected.empty() ? "one of " : ", ") + std::string(choice);
    }
    fail(name, expected, word);
  }

  // The same, or `otherwise` when the property is undefined.
  template <typename Value>
  Value choice(const char* name, std::initializer_list<std::pair<const char*, Value>> choices,
               Value otherwise) const {
    return get(name).IsUndefined() ? otherwise : choice(name, choices);
  }

  // The bytes of a Uint8Array, for functions that run at once on host memory.
  struct Bytes {
    uint8_t* data;
    size_t size;
  };
  Bytes bytes(const char* name) const;

  Stream* stream() const { return &Runtime::of(env_).stream; }
  Napi::Env env() const { return env_; }

  // Called once, after the op was enqueued.
  void retain();

 private:
  Napi::Value get(const char* name) const;
  void expect_one_device(const char* name, Backend backend);
  [[noreturn]] void fail(const char* name, const std::string& expected,
                         const std::string& received) const;

  Napi::Env env_;
  Napi::Object options_;
  const char* op_;
  const char* first_ = nullptr;  // the name of the first tensor
  std::vector<std::shared_ptr<Storage>> storages_;
};

// Names what an op enqueues, and nothing after it: an op that is refused enqueues nothing.
class NamedWork {
 public:
  NamedWork(Stream& stream, const char* op) : stream_(stream) { stream_.name_next(op); }
  ~NamedWork() { stream_.name_next(nullptr); }

 private:
  Stream& stream_;
};

// An op: body reads arguments and calls the front door, which enqueues. Returns undefined.
template <typename Body>
Napi::Value enqueue_op(const Napi::CallbackInfo& info, const char* op, const Body& body) {
  return guarded(info, [&] {
    Args args(info, op);
    const NamedWork named(*args.stream(), op);
    body(args);
    args.retain();
    return info.Env().Undefined();
  });
}

// A function that computes at once on host memory and returns what body returns.
template <typename Body>
Napi::Value host_function(const Napi::CallbackInfo& info, const char* op, const Body& body) {
  return guarded(info, [&]() -> Napi::Value {
    Args args(info, op);
    return body(args);
  });
}

struct NamedFunction {
  const char* name;
  Napi::Value (*function)(const Napi::CallbackInfo& info);
};
void export_functions(Napi::Object exports, std::initializer_list<NamedFunction> functions);

}  // namespace capi::addon
