// What this machine offers the CUDA backend, and memory on the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace capi {

struct CudaDevice {
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  size_t total_bytes, free_bytes;
  size_t shared_bytes;  // that a block may have
};

// Why the CUDA backend can or cannot be used. Nothing here throws: a report is wanted most where
// something is broken.
struct CudaReport {
  bool built = false;        // whether the library has CUDA kernels
  bool interpreted = false;  // kernels run in the interpreter of test/, not on a GPU
  std::string problem;       // the first thing to fix; empty: usable
  bool lost = false;         // a kernel's fault ended CUDA for this process
  int runtime_version = 0;   // 13000 is 13.0
  int driver_version = 0;    // the newest CUDA that the driver knows; 0: no driver
  std::vector<CudaDevice> devices;
  std::string cublaslt_path;     // of the library that multiplies matrices; empty: not found
  std::string cublaslt_version;  // "13.1.1"
};

CudaReport cuda_report();

// Throws kBackendUnavailable with the report's problem, if there is one; what device_fault made,
// once the device is lost.
void expect_cuda();

// The error to tell for `error`, which came while the ops `launched` since the last wait, the
// newest last, might still be running: it names those that may be to blame. When a kernel's fault
// is behind it, CUDA is over for this process: expect_cuda throws the result from then on.
Error device_fault(const Error& error, const std::vector<const char*>& launched);

// Zeroed. Throws as expect_cuda, kOutOfMemory.
void* device_allocate(size_t bytes);
// What was asked for when device_allocate last ran out of memory; 0: it never did.
size_t device_refused_bytes();
void device_release(void* data) noexcept;

}  // namespace capi
