// The CUDA side of a stream: a cudaStream_t, scratch memory, pinned memory for copies, and capture
// of what is enqueued as a CUDA graph. Used on the stream's thread only. Where the library was
// built without CUDA the constructor throws kBackendUnavailable (core/no_cuda.cpp).
#pragma once

#include <cstddef>
#include <memory>

#include "core/matrix_view.h"

struct CUstream_st;  // CUDA's own name of what a cudaStream_t points to

namespace capi {

class DeviceGraph;

class DeviceQueue {
 public:
  // Throws kBackendUnavailable with the reason, kCuda.
  DeviceQueue();
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;

  CUstream_st* handle() const;

  // Device memory for one op: contents undefined, 256-byte aligned, valid until the next op asks.
  // Grows on first use; a captured op must not be the first to need so much.
  void* scratch(size_t bytes);

  // From and to host memory, rows packed. `packed` may be reused when upload returns; download
  // waits for everything before it.
  void upload(const MatrixView& target, const void* packed);
  void download(void* packed, const MatrixView& source);
  void synchronize();

  // Between the two, work is recorded and not run. Copies, waiting and allocation throw.
  void begin_capture();
  bool capturing() const;
  std::shared_ptr<DeviceGraph> end_capture();
  // Enqueues everything that was recorded.
  void replay(const DeviceGraph& graph);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace capi
