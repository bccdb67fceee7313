// Owned memory behind tensors, on the CPU or on the CUDA device: aligned to 64 bytes, zeroed,
// counted.
#pragma once

#include <cstddef>
#include <memory>

#include "core/matrix_view.h"

namespace capi {

class Storage {
 public:
  // Throws kOutOfMemory, naming the bytes asked for and the bytes already live;
  // kBackendUnavailable.
  explicit Storage(size_t bytes, Backend backend = Backend::kCpu);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // What the system gave: whole pages on the CPU.
  size_t mapped() const { return mapped_; }
  Backend backend() const { return backend_; }

  // Of all storages of a backend, in this process.
  static size_t live_bytes(Backend backend);
  static size_t peak_bytes(Backend backend);

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  size_t mapped_ = 0;
  Backend backend_;
};

}  // namespace capi
