#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/patches/gather.h"

namespace capi {

namespace {

constexpr int kWarps = 4;

// One warp a row, which it copies in accesses of one T. Rows of 14 x 14 patches are 1176 bytes of
// bf16: 147 accesses of 8.
template <typename T>
__global__ void gather_rows_kernel(const T* __restrict__ x,              // (source rows, length)
                                   const int32_t* __restrict__ indices,  // (rows)
                                   T* __restrict__ y,                    // (rows, length)
                                   int64_t source_rows, int64_t rows, int64_t length,
                                   int64_t x_stride, int64_t y_stride, T missing) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= rows) return;
  y += row * y_stride;
  const int64_t from = indices[row];
  const bool inside = from >= 0 && from < source_rows;
  if (inside) x += from * x_stride;
  for (int64_t i = threadIdx.x; i < length; i += kWarpSize) y[i] = inside ? x[i] : missing;
}

template <typename T>
void gather(const GatherRows& op, cudaStream_t stream, T missing) {
  const int64_t element = static_cast<int64_t>(dtype_size(op.x.dtype));
  const auto accesses = [&](int64_t elements) {
    return elements * element / static_cast<int64_t>(sizeof(T));
  };
  launch(gather_rows_kernel<T>, blocks_for(op.y.rows, kWarps), dim3(kWarpSize, kWarps), 0, stream,
         op.x.as<T>(), op.indices.as<int32_t>(), op.y.as<T>(), op.x.rows, op.y.rows,
         accesses(op.x.cols), accesses(op.x.stride), accesses(op.y.stride), missing);
}

// The widest access, of 16 bytes at most, that every row begins and ends at a multiple of.
uintptr_t widest_access(const GatherRows& op) {
  const uintptr_t element = dtype_size(op.x.dtype);
  uintptr_t offsets = 16 | reinterpret_cast<uintptr_t>(op.x.data) |
                      reinterpret_cast<uintptr_t>(op.y.data) |
                      static_cast<uintptr_t>(op.x.cols) * element;
  for (const MatrixView& view : {op.x, op.y}) {
    if (view.rows > 1) offsets |= static_cast<uintptr_t>(view.stride) * element;
  }
  return offsets & (~offsets + 1);
}

}  // namespace

void gather_rows_cuda(const GatherRows& op, DeviceQueue& queue) {
  // All ones are a NaN in every float type.
  const bool integers = op.x.dtype == Dtype::kI32 || op.x.dtype == Dtype::kU8;
  const uint64_t missing = integers ? 0 : ~uint64_t{0};
  switch (widest_access(op)) {
    case 16: {
      const unsigned word = static_cast<unsigned>(missing);
      return gather(op, queue.handle(), make_uint4(word, word, word, word));
    }
    case 8:
      return gather(op, queue.handle(), missing);
    case 4:
      return gather(op, queue.handle(), static_cast<uint32_t>(missing));
    case 2:
      return gather(op, queue.handle(), static_cast<uint16_t>(missing));
    default:
      return gather(op, queue.handle(), static_cast<uint8_t>(missing));
  }
}

}  // namespace capi
