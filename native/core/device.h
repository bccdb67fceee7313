// What this machine offers the CUDA backend, and memory on the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace capi {

struct CudaDevice {
  std::string name;
  int major, minor;  // compute capability
  int multiprocessors;
  size_t total_bytes, free_bytes;
};

// Why the CUDA backend can or cannot be used. Nothing here throws: a report is wanted most where
// something is broken.
struct CudaReport {
  bool built = false;        // whether the library has CUDA kernels
  bool interpreted = false;  // kernels run in the interpreter of test/, not on a GPU
  std::string problem;       // the first thing to fix; empty: usable
  int runtime_version = 0;   // 13000 is 13.0
  int driver_version = 0;    // the newest CUDA that the driver knows; 0: no driver
  std::vector<CudaDevice> devices;
  std::string cublaslt_path;     // of the library that multiplies matrices; empty: not found
  std::string cublaslt_version;  // "13.1.1"
};

CudaReport cuda_report();

// Throws kBackendUnavailable with the report's problem, if there is one.
void expect_cuda();

// Zeroed. Throws as expect_cuda, kOutOfMemory.
void* device_allocate(size_t bytes);
void device_release(void* data) noexcept;

}  // namespace capi
