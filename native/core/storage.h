// Owned memory behind tensors: 64-byte aligned, zeroed, counted.
#pragma once

#include <cstddef>
#include <memory>

#include "core/matrix_view.h"

namespace capi {

class Storage {
 public:
  // Throws kOutOfMemory, naming the bytes asked for and the bytes already live.
  explicit Storage(size_t bytes);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // What the system gave: whole pages.
  size_t mapped() const { return mapped_; }
  Backend backend() const { return Backend::kCpu; }

  static size_t live_bytes();
  static size_t peak_bytes();

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  size_t mapped_ = 0;
};

}  // namespace capi
