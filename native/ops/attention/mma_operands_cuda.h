// What both directions of attention on tensor cores share: the kernels' operands and the tables of
// angles, which one launch fills for all heads.
#pragma once

#include "core/cuda/carver.h"
#include "ops/attention/attention_cuda.h"
#include "ops/attention/mma_stage_cuda.h"

namespace capi {

// Of a block: even where a warp or two have work, four can load.
constexpr int kFewestWarps = 4;

// Rows of the tables are in the order of the images of q.
struct MmaOperands {
  const bf16* q;            // (images * n_q, heads * kD)
  const bf16* k;            // (contexts * n_k, heads * kD)
  const bf16* v;            // (contexts * n_k, heads * kD)
  const uint32_t* q_table;  // (images * n_q, kD) angles; null without rope
  const uint32_t* k_table;  // (images * n_k, kD)
  int64_t q_stride, k_stride, v_stride;
  int heads, n_q, n_k;  // 32 bits: every register counts
  Places places;
  bool rotated_keys;  // k holds them, in the order of the images of q
  int distance;       // of pieces that rope turns together
  float scale;        // of scores: log2(e) / sqrt(kD)
};

template <int kD>
__device__ __forceinline__ const uint32_t* table_row(const uint32_t* table, int64_t row) {
  return table != nullptr ? table + row * kD : nullptr;
}

// The tables of angles, one for both sides where they have the same coordinates.
struct AngleTables {
  uint32_t* q = nullptr;
  uint32_t* k = nullptr;
};
template <typename Op>
AngleTables carve_tables(const Op& op, Carver& carver) {
  if (op.rope == Rope::kNone) return {};
  const int64_t images = op.q.rows / op.n_q, d = op.q.cols / op.heads;
  uint32_t* const q = carver.take<uint32_t>(images * op.n_q * d);
  const bool shared = op.q_coordinates.data == op.k_coordinates.data && op.n_q == op.n_k;
  return {q, shared ? q : carver.take<uint32_t>(images * op.n_k * d)};
}
template <typename Op>
void fill_tables(const Op& op, const AngleTables& tables, DeviceQueue& queue) {
  if (op.rope == Rope::kNone) return;
  fill_angles(query_rows(op), tables.q, queue);
  if (tables.k != tables.q) fill_angles(key_rows(op), tables.k, queue);
}

template <typename Op>
MmaOperands operands_of(const Op& op, const AngleTables& tables) {
  const int64_t d = op.q.cols / op.heads;
  return {op.q.template as<bf16>(),
          op.k.template as<bf16>(),
          op.v.template as<bf16>(),
          tables.q,
          tables.k,
          op.q.stride,
          op.k.stride,
          op.v.stride,
          static_cast<int>(op.heads),
          static_cast<int>(op.n_q),
          static_cast<int>(op.n_k),
          places_of(op),
          false,
          static_cast<int>(rope_distance(op.rope, d) / kPiece),
          score_scale(op) * kLog2E};
}

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace capi
