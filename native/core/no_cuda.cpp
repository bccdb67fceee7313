// Stands in for native/core/cuda in a library built without CUDA.
#include "core/device.h"
#include "core/device_queue.h"
#include "core/error.h"

namespace capi {

namespace {

const char* const kProblem =
    "this build has no CUDA backend; `npm run build:cuda` makes one where nvcc is installed";

[[noreturn]] void unavailable() {
  throw Error(ErrorCode::kBackendUnavailable,
              std::string("[cuda] Expected a CUDA device but ") + kProblem);
}

}  // namespace

CudaReport cuda_report() {
  CudaReport report;
  report.problem = kProblem;
  return report;
}

void expect_cuda() { unavailable(); }
Error device_fault(const Error& error, const std::vector<const char*>&) { return error; }
void* device_allocate(size_t) { unavailable(); }
size_t device_refused_bytes() { return 0; }
void device_release(void*) noexcept {}

struct DeviceQueue::Impl {};
class DeviceGraph {};

DeviceQueue::DeviceQueue() { unavailable(); }
DeviceQueue::~DeviceQueue() = default;
CUstream_st* DeviceQueue::handle() const { unavailable(); }
void* DeviceQueue::scratch(size_t) { unavailable(); }
void DeviceQueue::upload(const MatrixView&, const void*) { unavailable(); }
void DeviceQueue::download(void*, const MatrixView&) { unavailable(); }
void DeviceQueue::synchronize() { unavailable(); }
void DeviceQueue::begin_capture() { unavailable(); }
bool DeviceQueue::capturing() const { unavailable(); }
std::shared_ptr<DeviceGraph> DeviceQueue::end_capture() { unavailable(); }
void DeviceQueue::replay(const DeviceGraph&) { unavailable(); }

}  // namespace capi
