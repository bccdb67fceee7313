// The runtime's own copies and fills: it knows the best way for each, and graphs record them.
#include "core/cuda/copy_rows.h"
#include "core/device_queue.h"
#include "ops/tensor/copy.h"

namespace capi {

void zero_cuda(const Zero& op, DeviceQueue& queue) {
  const MatrixView& x = op.x;
  if (x.size() == 0) return;
  const size_t rows = static_cast<size_t>(x.rows);
  if (x.contiguous()) {  // as in copy_rows
    CAPI_CUDA_CHECK(cudaMemsetAsync(x.data, 0, rows * row_bytes(x), queue.handle()));
  } else {
    CAPI_CUDA_CHECK(
        cudaMemset2DAsync(x.data, pitch_bytes(x), 0, row_bytes(x), rows, queue.handle()));
  }
}

void copy_cuda(const Copy& op, DeviceQueue& queue) {
  copy_rows(op.y, op.x, cudaMemcpyDeviceToDevice, queue.handle());
}

}  // namespace capi
