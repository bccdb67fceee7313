// The two CUDA implementations of attention, between which attention_cuda.cu chooses, and what they
// share.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/attention/attention.h"
#include "ops/attention/rope_cuda.h"

namespace capi {

// Scores carry log2(e), so that their exponential is one instruction.
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// For any shape and dtype, in f32 arithmetic.
void attention_forward_f32(const AttentionForward& op, DeviceQueue& queue);
void attention_backward_f32(const AttentionBackward& op, DeviceQueue& queue);

// For bf16 with heads of 32 or 64 channels in rows of whole 16-byte accesses.
void attention_forward_mma(const AttentionForward& op, DeviceQueue& queue);
void attention_backward_mma(const AttentionBackward& op, DeviceQueue& queue);

// The gradients of rotated rows, which rotate_back carries to q, k and the frequencies.
struct RotatedGradients {
  float* queries;  // (images * n_q, heads * d), without the scale
  float* keys;     // (images * n_k, heads * d), without the factor key_scale
  float* parts;    // frequency_floats(op)
  float key_scale;
};
int64_t frequency_floats(const AttentionBackward& op);
void rotate_back(const AttentionBackward& op, const RotatedGradients& from, DeviceQueue& queue);

template <typename Op>
float score_scale(const Op& op) {
  return 1.0f / sqrtf(static_cast<float>(op.q.cols / op.heads));
}

template <typename Op>
RopeRows query_rows(const Op& op) {
  return {op.rope,
          op.q.rows / op.n_q,
          op.n_q,
          op.heads,
          op.q.cols / op.heads,
          op.q_coordinates.template as<float>(),
          op.frequencies.template as<float>(),
          places_of(op),
          false};
}
template <typename Op>
RopeRows key_rows(const Op& op) {
  RopeRows rows = query_rows(op);
  rows.n = op.n_k;
  rows.coordinates = op.k_coordinates.template as<float>();
  rows.of_context = true;
  return rows;
}

}  // namespace capi
