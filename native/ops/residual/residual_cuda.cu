#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/residual/residual.h"

namespace capi {

namespace {

constexpr int kWarps = 4;
// Rows of one image that a warp does, so that it looks the image up once for them. ViT-L: 16 KB of
// bf16, beside the 1.6 KB of the list of 409 kept images of 512.
constexpr int kRows = 8;

// Number of `image` in the list, the last where there are several; -1 where it is not. Every lane
// of the warp takes part.
__device__ int64_t find_image(const int32_t* images, int64_t count, int64_t image, int lane) {
  int64_t found = -1;
  for (int64_t i = 0; i < count; i += kWarpSize) {
    const bool here = i + lane < count && images[i + lane] == image;
    const unsigned votes = __ballot_sync(kAllLanes, here);
    if (votes != 0) found = i + kWarpSize - 1 - __clz(static_cast<int>(votes));
  }
  return found;
}

// One warp for kRows rows of an image: reads x and, where the image is kept, branch; writes y. In
// place, which is why no pointer is __restrict__, it leaves the other images alone. Loops are not
// unrolled: nvcc would split their stores of 16 bytes into four, and as pointers may be equal, no
// load would pass a store.
template <int kVec, typename X, typename Branch>
__global__ void residual_forward_kernel(const X* x,             // (images * rows, dim)
                                        const Branch* branch,   // (kept * rows, dim)
                                        X* y,                   // (images * rows, dim)
                                        const int32_t* chosen,  // (kept) or null: all
                                        int64_t kept, int64_t images, int64_t rows, int64_t pieces,
                                        int64_t dim, int64_t x_stride, int64_t branch_stride,
                                        int64_t y_stride, float scale) {
  const int lane = threadIdx.x;
  const int64_t task = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int64_t image = task / pieces;
  if (image >= images) return;
  const int64_t place = chosen != nullptr ? find_image(chosen, kept, image, lane) : image;
  if (place < 0 && x == y) return;
  const int64_t begin = task % pieces * kRows;
  const int64_t end = begin + kRows < rows ? begin + kRows : rows;
  for (int64_t row = begin; row < end; ++row) {
    const X* const x_row = x + (image * rows + row) * x_stride;
    X* const y_row = y + (image * rows + row) * y_stride;
    if (place < 0) {
#pragma unroll 1
      for (int64_t i = lane * kVec; i < dim; i += kWarpSize * kVec) {
        float v[kVec];
        load_floats(v, x_row + i);
        store_floats(y_row + i, v);
      }
      continue;
    }
    const Branch* const branch_row = branch + (place * rows + row) * branch_stride;
#pragma unroll 1
    for (int64_t i = lane * kVec; i < dim; i += kWarpSize * kVec) {
      float v[kVec], b[kVec];
      load_floats(v, x_row + i);
      load_floats(b, branch_row + i);
#pragma unroll
      for (int j = 0; j < kVec; ++j) v[j] += b[j] * scale;
      store_floats(y_row + i, v);
    }
  }
}

// One warp a row of the branch.
template <int kVec, typename X, typename Branch>
__global__ void residual_gather_kernel(const X* grad_y,        // (images * rows, dim)
                                       Branch* grad_branch,    // (kept * rows, dim)
                                       const int32_t* chosen,  // (kept) or null: all
                                       int64_t images, int64_t rows, int64_t branch_rows,
                                       int64_t dim, int64_t grad_y_stride,
                                       int64_t grad_branch_stride, float scale) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= branch_rows) return;
  int64_t image = chosen != nullptr ? chosen[row / rows] : row / rows;
  if (image < 0 || image >= images) {
    image = 0;
    scale = __int_as_float(0x7fc00000);
  }
  grad_y += (image * rows + row % rows) * grad_y_stride;
  grad_branch += row * grad_branch_stride;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < dim; i += kWarpSize * kVec) {
    float v[kVec];
    load_floats(v, grad_y + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) v[j] *= scale;
    store_floats(grad_branch + i, v);
  }
}

template <int kVec, typename X, typename Branch>
void forward(const ResidualForward& op, cudaStream_t stream) {
  const int64_t images = op.x.rows / op.rows, pieces = (op.rows + kRows - 1) / kRows;
  launch(residual_forward_kernel<kVec, X, Branch>, blocks_for(images * pieces, kWarps),
         dim3(kWarpSize, kWarps), 0, stream, op.x.as<X>(), op.branch.as<Branch>(), op.y.as<X>(),
         op.images.as<int32_t>(), op.images.cols, images, op.rows, pieces, op.x.cols, op.x.stride,
         op.branch.stride, op.y.stride, op.scale);
}

template <int kVec, typename X, typename Branch>
void gather(const ResidualGather& op, cudaStream_t stream) {
  launch(residual_gather_kernel<kVec, X, Branch>, blocks_for(op.grad_branch.rows, kWarps),
         dim3(kWarpSize, kWarps), 0, stream, op.grad_y.as<X>(), op.grad_branch.as<Branch>(),
         op.images.as<int32_t>(), op.grad_y.rows / op.rows, op.rows, op.grad_branch.rows,
         op.grad_y.cols, op.grad_y.stride, op.grad_branch.stride, op.scale);
}

// Elements in a 16-byte access of the narrower type; 1 where some row is not aligned to them.
template <typename A, typename B>
constexpr int kVector = 16 / static_cast<int>(sizeof(A) < sizeof(B) ? sizeof(A) : sizeof(B));

template <typename X, typename Branch>
void forward(const ResidualForward& op, cudaStream_t stream) {
  constexpr int kVec = kVector<X, Branch>;
  return aligned_rows({op.x, op.branch, op.y}, kVec) ? forward<kVec, X, Branch>(op, stream)
                                                     : forward<1, X, Branch>(op, stream);
}

template <typename X, typename Branch>
void gather(const ResidualGather& op, cudaStream_t stream) {
  constexpr int kVec = kVector<X, Branch>;
  return aligned_rows({op.grad_y, op.grad_branch}, kVec) ? gather<kVec, X, Branch>(op, stream)
                                                         : gather<1, X, Branch>(op, stream);
}

}  // namespace

void residual_forward_cuda(const ResidualForward& op, DeviceQueue& queue) {
  const bool half = op.branch.dtype == Dtype::kBF16;
  if (op.x.dtype == Dtype::kF32) {
    return half ? forward<float, bf16>(op, queue.handle())
                : forward<float, float>(op, queue.handle());
  }
  return half ? forward<bf16, bf16>(op, queue.handle()) : forward<bf16, float>(op, queue.handle());
}

void residual_gather_cuda(const ResidualGather& op, DeviceQueue& queue) {
  const bool half = op.grad_branch.dtype == Dtype::kBF16;
  if (op.grad_y.dtype == Dtype::kF32) {
    return half ? gather<float, bf16>(op, queue.handle())
                : gather<float, float>(op, queue.handle());
  }
  return half ? gather<bf16, bf16>(op, queue.handle()) : gather<bf16, float>(op, queue.handle());
}

}  // namespace capi
