// What kernels ask of the device that they run on. For *_cuda.cu files only.
#pragma once

#include <cuda_runtime.h>

#include "core/cuda/check.h"

namespace capi {

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  CAPI_CUDA_CHECK(cudaGetDevice(&device));
  CAPI_CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

}  // namespace capi
