// Stands in for NVIDIA's header of this name: the part of the CUDA runtime and of the device's
// built-ins that this project uses, on the CPU (see interpreter.h). Device memory is host memory;
// streams run their work at once, or record it while a graph is captured.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../interpreter.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// ---- the host's side --------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrL2CacheSize = 38 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct CUgraph_st {
  std::vector<std::function<cudaError_t()>> work;
};
struct CUstream_st {
  CUgraph_st* recording = nullptr;
  // Runs work now, or records it.
  virtual cudaError_t submit(std::function<cudaError_t()> work);
  // Whether these bytes are one allocation's: for libraries that are given device memory.
  virtual bool holds(const void* data, size_t bytes) const;
  virtual ~CUstream_st() = default;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point recorded;
};
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraph_st*;

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  void* attrs;
  unsigned numAttrs;
};

cudaError_t cudaGetLastError();
const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaGetDevice(int*);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaDeviceGetAttribute(int*, cudaDeviceAttr, int);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaMemset2DAsync(void*, size_t pitch, int, size_t width, size_t height, cudaStream_t);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemcpy2DAsync(void*, size_t to_pitch, const void*, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
// Checks the size against what sm_80 offers.
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int);

namespace capi::interpreter {

cudaError_t launch_failed(const std::string& message);
// 163 KB, sm_80's limit, so that every target can run what is tested.
constexpr size_t kMostSharedBytes = 163 * 1024;

// A kernel and its arguments: all that its threads may read besides device memory.
template <typename... Params>
struct Call {
  void (*kernel)(Params...);
  std::tuple<Params...> arguments;

  static void thread(const void* call) {
    const auto* self = static_cast<const Call*>(call);
    std::apply(self->kernel, self->arguments);
  }
};

template <typename... Params>
std::string run(dim3 grid, dim3 block, size_t shared_bytes, const Call<Params...>& call) {
  return run({{grid.x, grid.y, grid.z},
              {block.x, block.y, block.z},
              shared_bytes,
              &Call<Params...>::thread,
              &call,
              sizeof call});
}

}  // namespace capi::interpreter

template <typename... Params, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...),
                               Args&&... args) {
  if (config->dynamicSmemBytes > capi::interpreter::kMostSharedBytes) {
    return capi::interpreter::launch_failed("more shared memory than a block may have");
  }
  const capi::interpreter::Call<Params...> call = {kernel, {std::forward<Args>(args)...}};
  const cudaLaunchConfig_t shape = *config;
  return shape.stream->submit([shape, call] {
    const std::string failure =
        capi::interpreter::run(shape.gridDim, shape.blockDim, shape.dynamicSmemBytes, call);
    return failure.empty() ? cudaSuccess : capi::interpreter::launch_failed(failure);
  });
}

// ---- the device's side ------------------------------------------------------------------------

using capi::interpreter::blockDim;
using capi::interpreter::blockIdx;
using capi::interpreter::gridDim;
using capi::interpreter::threadIdx;

inline void __syncthreads() { capi::interpreter::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { capi::interpreter::warp_barrier(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace capi::interpreter {

template <typename T>
struct Exchange {
  T value;
  int source;
  T result;
};

// Each lane of the mask gets `value` of lane `source`, its own where that lane is outside of the
// warp.
template <typename T>
T exchange(const char* name, unsigned mask, T value, int source) {
  Exchange<T> mine = {value, source, value};
  warp_operation(name, mask, &mine, [](void* const operands[32], uint32_t lanes) {
    for (int i = 0; i < 32; ++i) {
      if ((lanes >> i & 1) == 0) continue;
      auto* to = static_cast<Exchange<T>*>(operands[i]);
      if (to->source < 0 || to->source > 31) continue;
      if (operands[to->source] == nullptr) fail("a shuffle from a lane that takes no part");
      to->result = static_cast<Exchange<T>*>(operands[to->source])->value;
    }
  });
  return mine.result;
}

inline unsigned ballot(const char* name, unsigned mask, bool predicate) {
  Exchange<unsigned> mine = {predicate ? 1u : 0u, 0, 0};
  warp_operation(name, mask, &mine, [](void* const operands[32], uint32_t) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) {
      if (operands[i] != nullptr)
        votes |= static_cast<Exchange<unsigned>*>(operands[i])->value << i;
    }
    for (int i = 0; i < 32; ++i) {
      if (operands[i] != nullptr) static_cast<Exchange<unsigned>*>(operands[i])->result = votes;
    }
  });
  return mine.result;
}

}  // namespace capi::interpreter

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return capi::interpreter::exchange("__shfl_sync", mask, value, source & 31);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return capi::interpreter::exchange("__shfl_xor_sync", mask, value,
                                     capi::interpreter::lane() ^ lanes);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  return capi::interpreter::exchange("__shfl_down_sync", mask, value,
                                     capi::interpreter::lane() + static_cast<int>(by));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  return capi::interpreter::exchange("__shfl_up_sync", mask, value,
                                     capi::interpreter::lane() - static_cast<int>(by));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return capi::interpreter::ballot("__ballot_sync", mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return capi::interpreter::ballot("__any_sync", mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return capi::interpreter::ballot("__all_sync", mask, predicate == 0) == 0;
}

// Integer atomics only: those of floats would make results depend on the order of threads.
template <typename T>
T atomicAdd(T* address, T value) {
  static_assert(std::is_integral_v<T>, "no atomics on floats");
  capi::interpreter::check_write(address, sizeof(T));
  return std::exchange(*address, static_cast<T>(*address + value));
}

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline int __double2hiint(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<int>(bits >> 32);
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((uint64_t{a} * b) >> 32);
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
// sin(pi x) and cos(pi x).
inline void sincospi(double x, double* sine, double* cosine) {
  const double turned = x - 2 * std::floor(x / 2);  // exact: in [0, 2)
  *sine = std::sin(turned * 3.14159265358979323846);
  *cosine = std::cos(turned * 3.14159265358979323846);
}
inline float __frcp_rn(float x) { return 1.0f / x; }
template <typename T>
T __ldg(const T* address) {
  return *address;
}
using std::max;
using std::min;
