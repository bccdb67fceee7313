// Turns the error codes of the CUDA runtime into exceptions.
#pragma once

#include <cuda_runtime.h>

namespace capi {

// Throws kCuda: "[cuda] cudaMemcpyAsync(…) failed: cudaErrorInvalidValue, invalid argument"; where
// memory ran out, the device's or page-locked memory of the host, kOutOfMemory.
[[noreturn]] void throw_cuda_error(cudaError_t error, const char* what);

}  // namespace capi

#define CAPI_CUDA_CHECK(call)                                                           \
  do {                                                                                  \
    const cudaError_t capi_cuda_error = (call);                                         \
    if (capi_cuda_error != cudaSuccess) capi::throw_cuda_error(capi_cuda_error, #call); \
  } while (false)
