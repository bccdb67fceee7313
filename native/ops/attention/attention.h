// Multi-head attention with rotary position encoding fused in:
//
//   out = softmax(rope(q) rope(k)^T / sqrt(d)) v        for each image and each head
//
//   q, out        (b * n_q, heads * d)    f32 | bf16, rows may be strided; d a multiple of 4
//   k, v          (b_ctx * n_k, heads * d)  same dtype, rows may be strided
//   lse           (b * heads, n_q)        f32: log of the softmax denominator, saved for backward;
//   may be absent q_coordinates (B * n_q, 2)            f32; k_coordinates (B * n_k, 2) f32; absent
//   with rope none frequencies   (2, d)                  f32: angle = coordinates @ frequencies, in
//   f32; absent with rope none images        (1, b)                  i32 in [0, B): image i of q
//   takes the coordinates of images[i]; absent: of i context_images (1, b)                 i32 in
//   [0, b_ctx), distinct: it attends to the rows of k and v of
//                                         context_images[i]; absent: of i
//
// An image whose index is out of range gets NaN. With j the partner of channel i, and the angles of
// the token,
//   rope(x)_i = x_i cos(angle_i) - x_j sin(angle_i)   for the first of a pair (i < j),
//   rope(x)_j = x_j cos(angle_j) + x_i sin(angle_j)   for the second:
//   coupled: j = i + d/2, CAPI's own form; not orthogonal, since the two angles differ;
//   axial:   j = i + d/4 within each half; a rotation where the two angles are equal, as they are
//   with CAPI's frequencies.
//
// Scores, softmax and sums are in f32 whatever the storage. On CUDA d is at most kMostCudaHeadDim.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

// Four tiles of 32 rows of so many floats still fit in a block's shared memory.
constexpr int64_t kMostCudaHeadDim = 256;

enum class Rope : uint8_t { kNone, kCoupled, kAxial };

struct AttentionForward {
  MatrixView q, k, v, out, lse;
  MatrixView q_coordinates, k_coordinates, frequencies;
  MatrixView images, context_images;
  int64_t heads = 1, n_q = 0, n_k = 0;
  Rope rope = Rope::kNone;
};

void attention_forward(const AttentionForward& op, Stream* stream);
CAPI_CPU_KERNEL(attention_forward_cpu, AttentionForward)
void attention_forward_cuda(const AttentionForward& op, DeviceQueue& queue);

// Gradients with respect to q, k and v from grad_out, q, k, v, out and lse. grad_q has the shape of
// q and may be q itself, and so on for k and v. Rows of context images that no image uses get zero.
// grad_frequencies (2, d) f32, overwritten; may be absent.
struct AttentionBackward {
  MatrixView q, k, v, out, lse, grad_out;
  MatrixView grad_q, grad_k, grad_v, grad_frequencies;
  MatrixView q_coordinates, k_coordinates, frequencies;
  MatrixView images, context_images;
  int64_t heads = 1, n_q = 0, n_k = 0;
  Rope rope = Rope::kNone;
};

void attention_backward(const AttentionBackward& op, Stream* stream);
CAPI_CPU_KERNEL(attention_backward_cpu, AttentionBackward)
void attention_backward_cuda(const AttentionBackward& op, DeviceQueue& queue);

}  // namespace capi
