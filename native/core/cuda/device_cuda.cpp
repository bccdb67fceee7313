#include "core/device.h"

#include <cuda_runtime.h>

#include <atomic>

#include "core/cuda/check.h"
#include "core/cuda/cublaslt.h"
#include "core/error.h"
#include "core/storage.h"

namespace capi {

namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The kernels are compiled for compute capability 8.0 and newer.
constexpr int kLeastMajor = 8;
// Of shared memory a block, as an A100 and all data centre GPUs after it have: attention and
// Sinkhorn-Knopp keep a whole problem there.
constexpr size_t kLeastSharedKiB = 163;

// The oldest driver that runs this CUDA: NVIDIA's table "CUDA Toolkit and Minimum Driver Versions".
const char* least_driver(int runtime_version) { return runtime_version >= 13000 ? "580" : "525"; }

std::string find_problem(const CudaReport& report, cudaError_t counted) {
  if (report.driver_version == 0) {
    return "no NVIDIA driver was found (libcuda.so.1); install driver " +
           std::string(least_driver(report.runtime_version)) + " or newer";
  }
  if (counted == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver knows CUDA " + version_text(report.driver_version) +
           " but this build needs CUDA " + version_text(report.runtime_version) +
           "; install driver " + least_driver(report.runtime_version) + " or newer";
  }
  if (counted == cudaErrorNoDevice) {
    return "the driver sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
  }
  if (counted != cudaSuccess) {
    return std::string("CUDA does not start: ") + cudaGetErrorString(counted);
  }
  if (report.devices.empty()) return "the driver sees no GPU";
  const CudaDevice& first = report.devices.front();
  if (first.major < kLeastMajor) {
    return first.name + " has compute capability " + std::to_string(first.major) + "." +
           std::to_string(first.minor) + " but the kernels need 8.0 or newer";
  }
  if (first.shared_bytes < kLeastSharedKiB * 1024) {
    return first.name + " allows a block " + std::to_string(first.shared_bytes / 1024) +
           " KiB of shared memory but the kernels need " + std::to_string(kLeastSharedKiB) +
           ", as A100, H100 and newer data centre GPUs have";
  }
  return "";
}

// Asking for free memory starts a context on the device, so only on the one that would be used.
std::string start(CudaDevice* device) {
  size_t total_bytes = 0;
  const cudaError_t error = cudaMemGetInfo(&device->free_bytes, &total_bytes);
  if (error == cudaSuccess) return "";
  return device->name + " does not start: " + cudaGetErrorName(error) + ", " +
         cudaGetErrorString(error) +
         "; look at nvidia-smi for other processes and its compute mode";
}

// Set once, by the first fault; left to the end of the process.
std::atomic<const Error*> fault{nullptr};

// A kernel's fault stays: whatever is asked of the device then fails as well.
bool device_answers() {
  size_t free_bytes = 0, total_bytes = 0;
  cudaGetLastError();
  return cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess;
}

std::string fault_text(const Error& error, const std::vector<const char*>& launched) {
  std::string text = "[cuda] Expected the device to run ";
  for (size_t i = 0; i < launched.size(); ++i) {
    text += std::string(i == 0 ? "" : ", ") + launched[i];
  }
  text += launched.size() == 1 ? " but it faulted: " : " but one of these ops faulted: ";
  return text + error.what() +
         ". This process cannot use the device again; start another, under NVIDIA's "
         "compute-sanitizer to learn which kernel it was";
}

// What is there besides cuBLASLt, which takes a while to open.
CudaReport device_report() {
  CudaReport report;
  report.built = true;
#ifdef CAPI_CUDA_INTERPRETED
  report.interpreted = true;
#endif
  cudaRuntimeGetVersion(&report.runtime_version);
  cudaDriverGetVersion(&report.driver_version);
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  for (int i = 0; counted == cudaSuccess && i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    CudaDevice device = {properties.name,
                         properties.major,
                         properties.minor,
                         properties.multiProcessorCount,
                         properties.totalGlobalMem,
                         0,
                         properties.sharedMemPerBlockOptin};
    report.devices.push_back(device);
  }
  report.problem = find_problem(report, counted);
  if (report.problem.empty()) report.problem = start(&report.devices.front());
  cudaGetLastError();  // what was asked above must not show up in the next op's check
  if (const Error* first = fault.load()) {
    report.lost = true;
    report.problem = std::string("an earlier fault ended it: ") + first->what();
  }
  return report;
}

// Asked once: a machine does not gain a driver while a process runs.
const std::string& usable_problem() {
  static const std::string* const problem = new std::string(device_report().problem);
  return *problem;
}

std::atomic<size_t> refused{0};

[[noreturn]] void throw_out_of_memory(size_t bytes) {
  refused = bytes;
  cudaGetLastError();
  size_t free_bytes = 0, total_bytes = 0;
  CAPI_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  const auto text = [](size_t count) { return std::to_string(count); };
  throw Error(ErrorCode::kOutOfMemory,
              "[storage] Expected " + text(bytes) + " bytes of device memory but " +
                  text(free_bytes) + " of " + text(total_bytes) + " are free; this process has " +
                  text(Storage::live_bytes(Backend::kCuda)) + " and had " +
                  text(Storage::peak_bytes(Backend::kCuda)) + " at its peak");
}

// On a stream of its own: waiting for the whole device is forbidden while any stream is captured.
cudaError_t zero_now(void* data, size_t bytes) {
  cudaStream_t stream = nullptr;
  cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return error;
  error = cudaMemsetAsync(data, 0, bytes, stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  return error;
}

}  // namespace

void throw_cuda_error(cudaError_t error, const char* what) {
  // CUDA allocates on its own as well: for kernels, which load at their first launch, and graphs.
  const bool no_memory = error == cudaErrorMemoryAllocation;
  throw Error(no_memory ? ErrorCode::kOutOfMemory : ErrorCode::kCuda,
              std::string("[cuda] ") + what + " failed: " + cudaGetErrorName(error) + ", " +
                  cudaGetErrorString(error));
}

CudaReport cuda_report() {
  CudaReport report = device_report();
  const std::string& problem = cublaslt_problem();
  if (problem.empty()) {
    report.cublaslt_path = cublaslt().path;
    report.cublaslt_version = cublaslt_version_text(cublaslt().version);
  } else if (report.problem.empty()) {
    report.problem = problem;
  }
  return report;
}

void expect_cuda() {
  if (const Error* first = fault.load()) throw *first;
  if (usable_problem().empty()) return;
  throw Error(ErrorCode::kBackendUnavailable,
              "[cuda] Expected a CUDA device but " + usable_problem());
}

Error device_fault(const Error& error, const std::vector<const char*>& launched) {
  if (const Error* first = fault.load()) return *first;
  if (error.code() != ErrorCode::kCuda || launched.empty()) return error;
  if (device_answers()) {  // refused at once, so by the op that asked
    return Error(ErrorCode::kCuda, std::string(error.what()) + "; the op is " + launched.back());
  }
  auto* const made = new Error(ErrorCode::kCuda, fault_text(error, launched));
  const Error* first = nullptr;
  if (fault.compare_exchange_strong(first, made)) return *made;
  delete made;
  return *first;
}

void* device_allocate(size_t bytes) {
  expect_cuda();
  void* data = nullptr;
  const size_t asked = bytes == 0 ? 1 : bytes;
  const cudaError_t error = cudaMalloc(&data, asked);
  if (error == cudaErrorMemoryAllocation) throw_out_of_memory(bytes);
  CAPI_CUDA_CHECK(error);
  const cudaError_t zeroed = zero_now(data, asked);
  if (zeroed != cudaSuccess) device_release(data);
  CAPI_CUDA_CHECK(zeroed);
  return data;
}

size_t device_refused_bytes() { return refused; }

// After a fault nothing can be freed, and at exit nothing needs to be.
void device_release(void* data) noexcept {
  if (fault.load() == nullptr) cudaFree(data);
}

}  // namespace capi
