// Carves the arrays of an op out of its one block of scratch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/device_queue.h"

namespace capi {

class Carver {
 public:
  // Null: only measures.
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

  // Aligned for 16-byte accesses, and to whole cache lines.
  template <typename T>
  T* take(int64_t count) {
    T* const at = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 127) / 128 * 128;
    return at;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

// arrays(Carver&) returns a struct of what it took; it is called twice, to measure and to place.
template <typename Arrays>
auto carve(DeviceQueue& queue, const Arrays& arrays) {
  Carver measured(nullptr);
  arrays(measured);
  Carver placed(queue.scratch(measured.used()));
  return arrays(placed);
}

}  // namespace capi
