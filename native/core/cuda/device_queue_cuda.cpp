#include "core/device_queue.h"

#include <cuda_runtime.h>

#include <cstring>
#include <utility>

#include "core/cuda/check.h"
#include "core/cuda/copy_rows.h"
#include "core/cuda/device_graph.h"
#include "core/device.h"
#include "core/error.h"
#include "core/storage.h"

namespace capi {

namespace {

// Page-locked host memory, which the device copies at full speed while the host goes on.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer() { cudaFreeHost(data_); }

  void* reserve(size_t bytes) {
    if (bytes <= bytes_) return data_;
    cudaFreeHost(std::exchange(data_, nullptr));
    bytes_ = 0;
    CAPI_CUDA_CHECK(cudaMallocHost(&data_, bytes));
    bytes_ = bytes;
    return data_;
  }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

constexpr size_t kRoomForSmall = 64 * 1024;

size_t packed_bytes(const MatrixView& view) {
  return static_cast<size_t>(view.rows) * row_bytes(view);
}

MatrixView packed_view(void* data, const MatrixView& shape) {
  return {data, shape.rows, shape.cols, shape.cols, shape.dtype, Backend::kCpu};
}

}  // namespace

struct DeviceQueue::Impl {
  cudaStream_t stream = nullptr;
  cudaEvent_t uploaded = nullptr;  // the last upload has left its pinned buffer
  PinnedBuffer up, down;
  size_t staged = 0;  // bytes of `up` that uploads since the last wait for `uploaded` have taken
  std::shared_ptr<Storage> scratch;
  bool capturing = false;

  Impl() {
    expect_cuda();
    // Not ordered with the default stream, which nothing here uses.
    CAPI_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CAPI_CUDA_CHECK(cudaEventCreateWithFlags(&uploaded, cudaEventDisableTiming));
  }

  ~Impl() {
    cudaEventDestroy(uploaded);
    cudaStreamDestroy(stream);
  }

  // Pinned memory for an upload. Small ones fit behind a large one, so that a batch's flips need
  // not wait until its images have left.
  void* stage(size_t bytes) {
    if (staged + bytes > up.bytes()) {
      CAPI_CUDA_CHECK(cudaEventSynchronize(uploaded));
      up.reserve(bytes + kRoomForSmall);
      staged = 0;
    }
    void* const at = static_cast<char*>(up.data()) + staged;
    staged += (bytes + 255) / 256 * 256;
    return at;
  }

  void expect_not_capturing(const char* what) const {
    if (!capturing) return;
    throw Error(
        ErrorCode::kInvalidArgument,
        std::string("[graph] Expected only kernels while a graph is captured but received ") +
            what);
  }
};

DeviceQueue::DeviceQueue() : impl_(std::make_unique<Impl>()) {}
DeviceQueue::~DeviceQueue() = default;

cudaStream_t DeviceQueue::handle() const { return impl_->stream; }

void* DeviceQueue::scratch(size_t bytes) {
  if (!impl_->scratch || impl_->scratch->bytes() < bytes) {
    impl_->expect_not_capturing("an op that needs more scratch; run it once before");
    // Freeing waits for what still uses the old memory. Graphs keep theirs (device_graph.h).
    impl_->scratch.reset();
    impl_->scratch = std::make_shared<Storage>(bytes, Backend::kCuda);
  }
  return impl_->scratch->data();
}

void DeviceQueue::upload(const MatrixView& target, const void* packed) {
  impl_->expect_not_capturing("a copy from the host");
  if (target.size() == 0) return;
  void* const staged = impl_->stage(packed_bytes(target));
  std::memcpy(staged, packed, packed_bytes(target));
  copy_rows(target, packed_view(staged, target), cudaMemcpyHostToDevice, impl_->stream);
  CAPI_CUDA_CHECK(cudaEventRecord(impl_->uploaded, impl_->stream));
}

void DeviceQueue::download(void* packed, const MatrixView& source) {
  impl_->expect_not_capturing("a copy to the host");
  if (source.size() == 0) return synchronize();
  void* const staged = impl_->down.reserve(packed_bytes(source));
  copy_rows(packed_view(staged, source), source, cudaMemcpyDeviceToHost, impl_->stream);
  synchronize();
  std::memcpy(packed, staged, packed_bytes(source));
}

void DeviceQueue::synchronize() {
  impl_->expect_not_capturing("synchronize");
  CAPI_CUDA_CHECK(cudaStreamSynchronize(impl_->stream));
}

void DeviceQueue::begin_capture() {
  impl_->expect_not_capturing("another capture");
  // Thread-local: another thread may allocate or free meanwhile.
  CAPI_CUDA_CHECK(cudaStreamBeginCapture(impl_->stream, cudaStreamCaptureModeThreadLocal));
  impl_->capturing = true;
}

bool DeviceQueue::capturing() const { return impl_->capturing; }

std::shared_ptr<DeviceGraph> DeviceQueue::end_capture() {
  cudaGraph_t recorded = nullptr;
  impl_->capturing = false;
  CAPI_CUDA_CHECK(cudaStreamEndCapture(impl_->stream, &recorded));
  return std::make_shared<DeviceGraph>(recorded, impl_->scratch);
}

void DeviceQueue::replay(const DeviceGraph& graph) {
  impl_->expect_not_capturing("the replay of a graph");
  CAPI_CUDA_CHECK(cudaGraphLaunch(graph.handle(), impl_->stream));
}

}  // namespace capi
