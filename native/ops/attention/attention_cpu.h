// What both directions of attention need on the CPU.
//
// One task an (image, head). Rows are rotated once while they are staged in f32 in the worker's
// scratch, keys also transposed, so that scores are register-tile products with keys in the lanes
// (tile_cpu.h). A block of queries meets all keys at once: softmax is exact and P never leaves the
// cache. Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include <math.h>
#include <string.h>

#include "core/simd.h"
#include "core/thread_pool.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope_cpu.h"
#include "ops/attention/tile_cpu.h"

namespace capi::CAPI_ISA::attention {

// Staged queries carry scale * log2(e): softmax is taken in powers of 2.
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// 2^x for x <= 1, relative error 2e-7; below -125 it stays at 2^-125, nothing beside a row's
// largest term of 1. NaN stays NaN.
static inline Vec exp2_softmax(Vec x) {
  const Vec clipped = vmax(broadcast(-125.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer; 127 more leaves the exponent's bits at the bottom.
  const Vec shifted = clipped + 12583039.0f;
  const Vec f = clipped - (shifted - 12583039.0f);
  // Minimax with p(0) = 1, |f| <= 1/2.
  Vec p = broadcast(1.32647e-3f);
  p = p * f + 9.67151e-3f;
  p = p * f + 5.550734e-2f;
  p = p * f + 2.4022242e-1f;
  p = p * f + 6.9314698e-1f;
  p = p * f + 1.0f;
  IntVec bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  Vec scale;
  memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

static inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// What both directions derive from their arguments.
struct Sizes {
  int64_t images, contexts, heads, n_q, n_k, d;
  int64_t coordinate_images;  // rows of coordinates are for this many images
  int64_t ld_channels, ld_keys, staged_keys, key_vectors, channel_vectors;
  float scale;
};

template <typename Op>
static inline Sizes sizes_of(const Op& op) {
  Sizes s;
  s.heads = op.heads;
  s.n_q = op.n_q;
  s.n_k = op.n_k;
  s.d = op.q.cols / op.heads;
  s.images = op.q.rows / op.n_q;
  s.contexts = op.k.rows / op.n_k;
  s.coordinate_images = op.rope == Rope::kNone ? 0 : op.q_coordinates.rows / op.n_q;
  s.ld_channels = leading(s.d);
  s.ld_keys = leading(s.n_k);
  s.staged_keys = round_up(s.n_k, kLanes);
  s.key_vectors = s.staged_keys / kLanes;
  s.channel_vectors = (s.d + kLanes - 1) / kLanes;
  s.scale = 1.0f / sqrtf(static_cast<float>(s.d));
  return s;
}

// Where image i of q finds its coordinates and its context; -1 where an index is out of range.
struct Place {
  int64_t image, context;
  bool valid() const { return image >= 0 && context >= 0; }
};

template <typename Op>
static inline Place place_of(const Op& op, const Sizes& s, int64_t i) {
  Place place{i, i};
  if (op.images) place.image = op.images.template as<int32_t>()[i];
  if (op.context_images) place.context = op.context_images.template as<int32_t>()[i];
  if (place.image < 0 || (op.rope != Rope::kNone && place.image >= s.coordinate_images))
    place.image = -1;
  if (place.context >= s.contexts) place.context = -1;
  return place;
}

// cos and sin of every token's angles, 2d floats a token, for the images of this call; null without
// rope.
struct AngleTables {
  const float* q;
  const float* k;  // q where both have the same coordinates
};

template <typename Op>
static inline bool same_tokens(const Op& op) {
  return op.q_coordinates.data == op.k_coordinates.data && op.n_q == op.n_k;
}

template <typename Op>
static inline int64_t table_floats(const Op& op, const Sizes& s) {
  if (op.rope == Rope::kNone) return 0;
  return s.images * (s.n_q + (same_tokens(op) ? 0 : s.n_k)) * 2 * s.d;
}

// The tables in `memory`, table_floats long.
template <typename Op>
static inline AngleTables fill_tables(const Op& op, const Sizes& s, float* memory) {
  if (op.rope == Rope::kNone) return {nullptr, nullptr};
  float* q = memory;
  float* k = same_tokens(op) ? q : memory + s.images * s.n_q * 2 * s.d;
  parallel_for(s.images, [&](int64_t i, int) {
    const Place place = place_of(op, s, i);
    if (!place.valid()) return;
    const float* frequencies = op.frequencies.template as<float>();
    const auto fill = [&](const MatrixView& coordinates, int64_t n, float* table) {
      for (int64_t t = 0; t < n; ++t) {
        angles(coordinates.as<float>() + (place.image * n + t) * 2, frequencies, s.d,
               table + (i * n + t) * 2 * s.d);
      }
    };
    fill(op.q_coordinates, s.n_q, q);
    if (k != q) fill(op.k_coordinates, s.n_k, k);
  });
  return {q, k};
}

// Queries a block: about 96 KiB of scores, and blocks of nearly equal height.
static inline int64_t block_rows(int64_t rows, int64_t ld_keys) {
  int64_t most = 24576 / ld_keys;
  if (most < 24) most = 24;
  if (most > 108) most = 108;
  const int64_t blocks = (rows + most - 1) / most;
  return round_up((rows + blocks - 1) / blocks, kTileRows);
}

// A head's channels of the rows from `row` on.
template <typename T>
static inline T* head_rows(const MatrixView& m, int64_t row, int64_t head, int64_t d) {
  return m.as<T>() + row * m.stride + head * d;
}

template <typename T>
static inline void fill_rows(const MatrixView& m, int64_t row, int64_t head, int64_t rows,
                             int64_t d, float value) {
  T* to = head_rows<T>(m, row, head, d);
  for (int64_t r = 0; r < rows; ++r, to += m.stride) {
    for (int64_t i = 0; i < d; ++i) set(to + i, value);
  }
}

static inline void clear_rows(float* rows, int64_t ld, int64_t first, int64_t last) {
  if (last > first)
    memset(rows + first * ld, 0, static_cast<size_t>((last - first) * ld) * sizeof(float));
}

// Floats of a staged matrix of n_k rows that transpose() left.
static inline int64_t transposed_floats(const Sizes& s) {
  return round_up(s.d, 8) * round_up(s.n_k, kPanel);
}

}  // namespace capi::CAPI_ISA::attention
