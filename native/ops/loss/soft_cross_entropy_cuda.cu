#include "ops/loss/soft_cross_entropy.h"

#include "core/cuda/carver.h"
#include "core/cuda/launch.h"
#include "ops/loss/softmax_cuda.h"

namespace capi {

namespace {

// A row of 16384 is then two accesses of 16 bytes a thread. Two such blocks fill a multiprocessor:
// one reads while the other reduces, and the 128 KB of logits and targets of their rows, which are
// read again, fit into the 192 KB of L1 of an A100.
constexpr int kMostThreads = 1024;
constexpr int kBlocks = 2;

// One block a row, in three passes: the maximum; the sums; the gradient. Only the first touch of an
// entry comes from memory: 2 + 2 bytes read and 2 written an entry in bf16. grad_logits may be
// logits, which is why neither is __restrict__: a thread reads and writes its own entries only.
template <int kVec, typename T, typename A>
__global__ void __launch_bounds__(kMostThreads, kBlocks)
    soft_cross_entropy_kernel(const T* logits,                // (rows, columns)
                              const A* __restrict__ targets,  // (rows, columns)
                              T* grad_logits,                 // (rows, columns) or null
                              float* __restrict__ losses,     // (rows)
                              int columns, float slope, float grad_scale) {
  BlockReduction reduce(shared_memory<float>());
  const int64_t row = blockIdx.x;
  const int begin = static_cast<int>(threadIdx.x) * kVec;
  const int step = static_cast<int>(blockDim.x) * kVec;
  logits += row * columns;
  targets += row * columns;

  float most[1] = {-__int_as_float(0x7f800000)};
  for (int k = begin; k < columns; k += step) {
    float l[kVec];
    load_floats(l, logits + k);
#pragma unroll
    for (int j = 0; j < kVec; ++j) most[0] = fmaxf(most[0], l[j]);
  }
  reduce.template operator()<true>(most);

  float sums[3] = {};  // of exponentials, of targets, of targets times exponents
  for (int k = begin; k < columns; k += step) {
    float l[kVec], a[kVec];
    load_floats(l, logits + k);
    load_floats(a, targets + k);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      const float exponent = (l[j] - most[0]) * slope;
      sums[0] += exp2_approx(exponent);
      sums[1] += a[j];
      sums[2] += a[j] * exponent;
    }
  }
  reduce(sums);
  if (threadIdx.x == 0) losses[row] = logf(sums[0]) * sums[1] - sums[2] * kLn2;
  if (grad_logits == nullptr) return;

  grad_logits += row * columns;
  const float softmax_scale = sums[1] / sums[0] * grad_scale;
  for (int k = begin; k < columns; k += step) {
    float l[kVec], a[kVec];
    load_floats(l, logits + k);
    load_floats(a, targets + k);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      l[j] = exp2_approx((l[j] - most[0]) * slope) * softmax_scale - a[j] * grad_scale;
    }
    store_floats(grad_logits + k, l);
  }
}

constexpr int kMergeThreads = 256;

// One block; thread i takes rows i, i + kMergeThreads, ...
__global__ void mean_kernel(const float* __restrict__ losses,  // (rows)
                            double* __restrict__ loss, int64_t rows) {
  double total = 0.0;
  for (int64_t row = threadIdx.x; row < rows; row += kMergeThreads) {
    total += static_cast<double>(losses[row]);
  }
  total = block_sum(total, shared_memory<double>());
  if (threadIdx.x == 0) *loss = total / static_cast<double>(rows);
}

template <int kVec, typename T, typename A>
void run(const SoftCrossEntropy& op, DeviceQueue& queue) {
  const int64_t rows = op.logits.rows, columns = op.logits.cols;
  float* const losses = carve(queue, [&](Carver& carver) { return carver.take<float>(rows); });
  int threads = kMostThreads;
  while (threads > kWarpSize && threads / 2 * kVec >= columns) threads /= 2;
  launch(soft_cross_entropy_kernel<kVec, T, A>, static_cast<unsigned>(rows), threads,
         BlockReduction::kSharedBytes, queue.handle(), op.logits.as<T>(), op.targets.as<A>(),
         op.grad_logits.as<T>(), losses, columns, softmax_slope(op.temperature),
         1.0 / (op.temperature * static_cast<double>(rows)));
  launch(mean_kernel, 1, kMergeThreads, kMergeThreads / kWarpSize * sizeof(double), queue.handle(),
         losses, op.loss.as<double>(), rows);
}

template <typename T, typename A>
void run(const SoftCrossEntropy& op, DeviceQueue& queue) {
  constexpr int kVec = 8;  // 16 bytes of bf16, 32 of f32
  aligned_rows({op.logits, op.targets, op.grad_logits}, kVec) ? run<kVec, T, A>(op, queue)
                                                              : run<1, T, A>(op, queue);
}

}  // namespace

void soft_cross_entropy_cuda(const SoftCrossEntropy& op, DeviceQueue& queue) {
  const bool wide_targets = op.targets.dtype == Dtype::kF32;
  if (op.logits.dtype == Dtype::kF32) {
    wide_targets ? run<float, float>(op, queue) : run<float, bf16>(op, queue);
  } else {
    wide_targets ? run<bf16, float>(op, queue) : run<bf16, bf16>(op, queue);
  }
}

}  // namespace capi
