// A borrowed, row-major matrix: what every op takes and returns. Plain data, so that kernel files
// compiled for different instruction sets share no inline code through it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace capi {

enum class Backend : uint8_t { kCpu, kCuda };

struct MatrixView {
  void* data = nullptr;  // null: an absent optional argument
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols
  Dtype dtype = Dtype::kF32;
  Backend backend = Backend::kCpu;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return rows * cols; }
  bool contiguous() const { return stride == cols || rows <= 1; }
};

}  // namespace capi
