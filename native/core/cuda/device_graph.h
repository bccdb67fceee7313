// A captured sequence of kernels, ready to run. It refers to memory by address, so it keeps the
// scratch that its kernels use; tensors are kept by whoever captured it.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <utility>

#include "core/cuda/check.h"
#include "core/storage.h"

namespace capi {

class DeviceGraph {
 public:
  // Takes over `recorded`.
  DeviceGraph(cudaGraph_t recorded, std::shared_ptr<Storage> scratch)
      : scratch_(std::move(scratch)) {
    const cudaError_t error = cudaGraphInstantiate(&executable_, recorded, 0);
    cudaGraphDestroy(recorded);
    CAPI_CUDA_CHECK(error);
  }
  ~DeviceGraph() { cudaGraphExecDestroy(executable_); }
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  cudaGraphExec_t handle() const { return executable_; }

 private:
  cudaGraphExec_t executable_ = nullptr;
  std::shared_ptr<Storage> scratch_;
};

}  // namespace capi
