// The CUDA runtime's functions over the interpreter's memory (include/cuda_runtime.h).
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

#include "simulated_device.h"

using capi::interpreter::simulated_device;

namespace {

// Small, so that work that is cut into parts of this size is cut in tests.
constexpr int kMultiprocessors = 4;
constexpr int kL2Bytes = 64 * 1024;

thread_local std::string last_failure = "no error";

// After a fault every call that needs the device fails.
cudaError_t status() {
  if (simulated_device().busy) return cudaErrorDevicesUnavailable;
  if (!capi::interpreter::device_has_faulted()) return cudaSuccess;
  return capi::interpreter::launch_failed("unspecified launch failure");
}

cudaError_t copy_rows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                      size_t height) {
  if (to_pitch < width || from_pitch < width) return cudaErrorInvalidValue;
  for (size_t i = 0; i < height; ++i) {
    std::memcpy(static_cast<char*>(to) + i * to_pitch,
                static_cast<const char*>(from) + i * from_pitch, width);
  }
  return cudaSuccess;
}

}  // namespace

namespace capi::interpreter {
cudaError_t launch_failed(const std::string& message) {
  last_failure = message;
  return cudaErrorLaunchFailure;
}
}  // namespace capi::interpreter

cudaError_t CUstream_st::submit(std::function<cudaError_t()> work) {
  if (const cudaError_t error = status()) return error;
  if (recording == nullptr) return work();
  recording->work.push_back(std::move(work));
  return cudaSuccess;
}

bool CUstream_st::holds(const void* data, size_t bytes) const {
  return capi::interpreter::is_allocated(data, bytes);
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorDevicesUnavailable:
      return "cudaErrorDevicesUnavailable";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
  }
  return "unknown";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? last_failure.c_str() : cudaGetErrorName(error);
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = capi::interpreter::kRuntimeVersion;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = simulated_device().driver_version;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  if (simulated_device().driver_version < capi::interpreter::kRuntimeVersion) {
    return cudaErrorInsufficientDriver;
  }
  *count = simulated_device().devices;
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof properties->name, "interpreter");
  properties->major = simulated_device().major;
  properties->minor = simulated_device().minor;
  properties->multiProcessorCount = kMultiprocessors;
  properties->totalGlobalMem = simulated_device().bytes;
  properties->sharedMemPerBlockOptin = simulated_device().shared_bytes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrL2CacheSize ? kL2Bytes : kMultiprocessors;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  const size_t bytes = simulated_device().bytes;
  *total_bytes = bytes;
  *free_bytes = bytes - std::min(bytes, capi::interpreter::allocated_bytes());
  return status();
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (const cudaError_t error = status()) return error;
  if (capi::interpreter::allocated_bytes() + bytes > simulated_device().bytes) {
    return cudaErrorMemoryAllocation;
  }
  *data = capi::interpreter::allocate(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  if (const cudaError_t error = status()) return error;
  return data == nullptr || capi::interpreter::release(data) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  if (const cudaError_t error = status()) return error;
  if (bytes > simulated_device().pinned_bytes) return cudaErrorMemoryAllocation;
  *data = std::malloc(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  return cudaMemset2DAsync(data, bytes, value, bytes, 1, stream);
}
cudaError_t cudaMemset2DAsync(void* data, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream) {
  return stream->submit([=] {
    for (size_t i = 0; i < height; ++i)
      std::memset(static_cast<char*>(data) + i * pitch, value, width);
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  return stream->submit([=] { return copy_rows(to, to_pitch, from, from_pitch, width, height); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = status()) return error;
  *stream = new CUstream_st();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return stream->recording == nullptr ? status() : cudaErrorStreamCaptureUnsupported;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return stream->submit([event] {
    event->recorded = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return status(); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->recorded - from->recorded).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t error = status()) return error;
  if (stream->recording != nullptr) return cudaErrorStreamCaptureUnsupported;
  stream->recording = new CUgraph_st();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->recording, nullptr);
  return *graph == nullptr ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraph_st(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  for (const auto& work : graph->work) {
    const cudaError_t error = stream->submit(work);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  return value >= 0 && static_cast<size_t>(value) <= capi::interpreter::kMostSharedBytes
             ? cudaSuccess
             : cudaErrorInvalidValue;
}
