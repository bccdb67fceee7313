// Several arrays in one piece of scratch (core/thread_pool.h), each on cache lines of its own.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include "core/thread_pool.h"

#ifndef CAPI_ISA
#error \
    "scratch_cpu.h is for kernel files, which CMakeLists.txt compiles once for each instruction set"
#endif

namespace capi::CAPI_ISA {

class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}

  // Null while the arrays are only measured.
  template <typename T>
  T* take(int64_t count) {
    T* array = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return array;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

// take_all(carver) takes every array and returns their pointers. It runs twice: to measure them
// and to place them.
template <typename TakeAll>
static inline auto carve_op_scratch(const TakeAll& take_all) {
  Carver measure(nullptr);
  take_all(measure);
  Carver carver(op_scratch(measure.used()));
  return take_all(carver);
}

template <typename TakeAll>
static inline auto carve_worker_scratch(int worker, const TakeAll& take_all) {
  Carver measure(nullptr);
  take_all(measure);
  Carver carver(worker_scratch(worker, measure.used()));
  return take_all(carver);
}

}  // namespace capi::CAPI_ISA
