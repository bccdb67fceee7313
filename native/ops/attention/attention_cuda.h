// What both CUDA implementations of attention share: the one for any shape in f32 arithmetic
// (attention_cuda.cu) and the one on tensor cores (attention_mma_cuda.cu).
#pragma once

#include <cmath>
#include <cstddef>

#include "core/device_queue.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope_cuda.h"

namespace capi {

// Scores carry log2(e), so that their exponential is one instruction.
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// bf16 with heads of 32 or 64 channels in rows of whole 16-byte accesses.
bool runs_on_mma(const AttentionForward& op);
bool runs_on_mma(const AttentionBackward& op);
void attention_forward_mma(const AttentionForward& op, DeviceQueue& queue);
void attention_backward_mma(const AttentionBackward& op, DeviceQueue& queue);

// Zeros the gradients of the contexts that no image attends to.
void clear_unused_contexts(const AttentionBackward& op, DeviceQueue& queue);

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

// Hands out 256-byte aligned pieces of one scratch block; with a null base it only counts.
struct Carver {
  char* base = nullptr;
  size_t used = 0;
  float* floats(int64_t count) {
    char* const piece = base + used;
    used += (static_cast<size_t>(count) * sizeof(float) + 255) / 256 * 256;
    return base == nullptr ? nullptr : reinterpret_cast<float*>(piece);
  }
};

// Calls carve(carver) twice: to count, and with the op's scratch.
template <typename Carve>
void carve_scratch(DeviceQueue& queue, const Carve& carve) {
  Carver carver;
  carve(carver);
  carver = {static_cast<char*>(queue.scratch(carver.used)), 0};
  carve(carver);
}

}  // namespace capi
