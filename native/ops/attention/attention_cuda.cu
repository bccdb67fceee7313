// Chooses the implementation of attention on CUDA; and the parts of the backward pass that do not
// depend on it.
#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/attention/attention_cuda.h"

namespace capi {

namespace {

constexpr int kThreads = 128;

// 16-byte accesses of bf16 by every row, and heads that the tensor cores' kernels are compiled for.
bool runs_on_mma(const AttentionForward& op) {
  const int64_t d = op.q.cols / op.heads;
  return op.q.dtype == Dtype::kBF16 && (d == 32 || d == 64) &&
         aligned_rows({op.q, op.k, op.v, op.out}, 8);
}
bool runs_on_mma(const AttentionBackward& op) {
  const int64_t d = op.q.cols / op.heads;
  return op.q.dtype == Dtype::kBF16 && (d == 32 || d == 64) &&
         aligned_rows({op.q, op.k, op.v, op.out, op.grad_out, op.grad_q, op.grad_k, op.grad_v}, 8);
}

// One block a context: where no image attends to it, its gradients are zero.
template <typename T>
__global__ void clear_unused_kernel(Places places, T* grad_k, T* grad_v, int64_t images,
                                    int64_t n_k, int64_t width, int64_t k_stride,
                                    int64_t v_stride) {
  int* const used = shared_memory<int>();  // (kThreads)
  bool mine = false;
  for (int64_t i = threadIdx.x; i < images; i += kThreads) {
    const Place place = places.at(i);
    mine = mine || (place.valid() && place.context == int64_t{blockIdx.x});
  }
  used[threadIdx.x] = mine ? 1 : 0;
  __syncthreads();
  for (int i = 0; i < kThreads; ++i) {
    if (used[i] != 0) return;
  }
  const T zero = from_float<T>(0.0f);
  for (int64_t row = blockIdx.x * n_k; row < (blockIdx.x + 1) * n_k; ++row) {
    for (int64_t c = threadIdx.x; c < width; c += kThreads) {
      grad_k[row * k_stride + c] = zero;
      grad_v[row * v_stride + c] = zero;
    }
  }
}

template <typename T>
void clear_unused(const AttentionBackward& op, DeviceQueue& queue) {
  launch(clear_unused_kernel<T>, op.k.rows / op.n_k, kThreads, sizeof(int) * kThreads,
         queue.handle(), places_of(op), op.grad_k.as<T>(), op.grad_v.as<T>(), op.q.rows / op.n_q,
         op.n_k, op.k.cols, op.grad_k.stride, op.grad_v.stride);
}

// Zeros the gradients of the contexts that no image attends to.
void clear_unused_contexts(const AttentionBackward& op, DeviceQueue& queue) {
  if (!op.context_images) return;  // all are used
  op.q.dtype == Dtype::kF32 ? clear_unused<float>(op, queue) : clear_unused<bf16>(op, queue);
}

}  // namespace

void attention_forward_cuda(const AttentionForward& op, DeviceQueue& queue) {
  runs_on_mma(op) ? attention_forward_mma(op, queue) : attention_forward_f32(op, queue);
}

void attention_backward_cuda(const AttentionBackward& op, DeviceQueue& queue) {
  runs_on_mma(op) ? attention_backward_mma(op, queue) : attention_backward_f32(op, queue);
  clear_unused_contexts(op, queue);
}

int64_t frequency_floats(const AttentionBackward& op) {
  if (!op.grad_frequencies || op.rope == Rope::kNone) return 0;
  return frequency_part_floats(query_rows(op)) + frequency_part_floats(key_rows(op));
}

void rotate_back(const AttentionBackward& op, const RotatedGradients& from, DeviceQueue& queue) {
  const int64_t floats = frequency_floats(op);
  float* const parts = floats > 0 ? from.parts : nullptr;
  float* const key_parts =
      floats > 0 ? from.parts + frequency_part_floats(query_rows(op)) : nullptr;
  rotate_back_rows(query_rows(op), from.queries, op.q.cols, score_scale(op), op.q, op.grad_q, parts,
                   queue);
  rotate_back_rows(key_rows(op), from.keys, op.q.cols, from.key_scale, op.k, op.grad_k, key_parts,
                   queue);
  if (op.grad_frequencies) {
    merge_frequency_parts(from.parts, floats, op.grad_frequencies, queue);
  }
}

}  // namespace capi
