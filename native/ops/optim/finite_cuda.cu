#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/optim/finite.h"

namespace capi {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
// Elements of a block: 64 or 32 accesses of 16 bytes a thread. The 304 M gradients of ViT-L are
// about 4650 blocks, whose counts one block then adds.
constexpr int64_t kBlockElements = 1 << 16;

__device__ bool is_nonfinite(float value) {
  return (__float_as_uint(value) & 0x7f800000u) == 0x7f800000u;
}
__device__ bool is_nonfinite(double value) {
  return (__double2hiint(value) & 0x7ff00000) == 0x7ff00000;
}

template <int kVec, typename T>
__device__ int count_of(const T* x) {
  float values[kVec];
  load_floats(values, x);
  int found = 0;
#pragma unroll
  for (int i = 0; i < kVec; ++i) found += is_nonfinite(values[i]);
  return found;
}
// Losses: a handful of numbers.
template <int kVec>
__device__ int count_of(const double* x) {
  return is_nonfinite(*x);
}

// A block counts in its run of kBlockElements.
template <int kVec, typename T>
__global__ void count_nonfinite_kernel(const T* __restrict__ x,       // (size)
                                       int32_t* __restrict__ counts,  // (blocks)
                                       int64_t size) {
  const int64_t begin = int64_t{blockIdx.x} * kBlockElements;
  const int64_t end = begin + kBlockElements < size ? begin + kBlockElements : size;
  int found = 0;
#pragma unroll 4
  for (int64_t i = begin + int64_t{threadIdx.x} * kVec; i < end; i += kThreads * kVec) {
    if (i + kVec <= end) {
      found += count_of<kVec>(x + i);
    } else {
      for (int64_t j = i; j < end; ++j) found += count_of<1>(x + j);
    }
  }
  found = block_sum(found, shared_memory<int>());
  if (threadIdx.x == 0) counts[blockIdx.x] = found;
}

// One block adds the counts of all.
__global__ void add_counts_kernel(const int32_t* __restrict__ counts,  // (blocks)
                                  int32_t* __restrict__ count,         // (1)
                                  int64_t blocks, bool accumulate) {
  int64_t found = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) found += counts[i];
  found = block_sum(found, shared_memory<int64_t>());
  if (threadIdx.x != 0) return;
  if (accumulate) found += *count;
  *count = found < INT32_MAX ? static_cast<int32_t>(found) : INT32_MAX;
}

template <int kVec, typename T>
void count(const MatrixView& x, int32_t* counts, unsigned blocks, cudaStream_t stream) {
  launch(count_nonfinite_kernel<kVec, T>, blocks, kThreads, kWarps * sizeof(int), stream, x.as<T>(),
         counts, x.size());
}

}  // namespace

void count_nonfinite_cuda(const CountNonfinite& op, DeviceQueue& queue) {
  const unsigned blocks = blocks_for(op.x.size(), kBlockElements);
  auto* const counts = static_cast<int32_t*>(queue.scratch(blocks * sizeof(int32_t)));
  const bool wide = aligned_rows({op.x}, 1);
  if (op.x.dtype == Dtype::kF64) {
    count<1, double>(op.x, counts, blocks, queue.handle());
  } else if (op.x.dtype == Dtype::kF32) {
    wide ? count<4, float>(op.x, counts, blocks, queue.handle())
         : count<1, float>(op.x, counts, blocks, queue.handle());
  } else {
    wide ? count<8, bf16>(op.x, counts, blocks, queue.handle())
         : count<1, bf16>(op.x, counts, blocks, queue.handle());
  }
  launch(add_counts_kernel, 1, kThreads, kWarps * sizeof(int64_t), queue.handle(), counts,
         op.count.as<int32_t>(), int64_t{blocks}, op.accumulate);
}

}  // namespace capi
