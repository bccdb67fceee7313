// Rotary encoding of rows while they are staged (attention.h has the equations), its transpose, and
// the gradient of the frequencies. Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include <math.h>

#include "core/simd.h"
#include "ops/attention/attention.h"

namespace capi::CAPI_ISA {

struct SinCos {
  Vec sin, cos;
};

// Absolute error 1e-7 for any angle: three-part pi/2 (exact with fused multiply-add) up to 1e5,
// beyond that libm.
static inline SinCos sincos(Vec x) {
  const Vec magnitude = vmax(x, -x);
  const IntVec small = magnitude <= broadcast(1e5f);  // false for NaN
  bool all_small = true;
  for (int i = 0; i < kLanes; ++i) all_small &= small[i] != 0;
  if (!all_small) {
    SinCos result;
    for (int i = 0; i < kLanes; ++i) {
      result.sin[i] = sinf(x[i]);
      result.cos[i] = cosf(x[i]);
    }
    return result;
  }
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec n = (x * 0.636619772367581343f + magic) - magic;
  Vec r = x - n * 1.57079637050628662f;
  r = r - n * -4.37113882867379282e-8f;
  r = r - n * -1.71512449451e-15f;
  const Vec r2 = r * r;
  // Cephes sinf and cosf, |r| <= pi/4.
  Vec s = broadcast(-1.9515295891e-4f);
  s = s * r2 + 8.3321608736e-3f;
  s = s * r2 + -1.6666654611e-1f;
  s = s * r2 * r + r;
  Vec c = broadcast(2.443315711809948e-5f);
  c = c * r2 + -1.388731625493765e-3f;
  c = c * r2 + 4.166664568298827e-2f;
  c = c * r2 * r2 + (1.0f - 0.5f * r2);
  const IntVec quadrant = __builtin_convertvector(n, IntVec);
  const IntVec swap = (quadrant & 1) != 0;
  const Vec sine = select(swap, c, s), cosine = select(swap, s, c);
  return {select((quadrant & 2) != 0, -sine, sine),
          select(((quadrant + 1) & 2) != 0, -cosine, cosine)};
}

// One token's row of the table: cos of its d angles, then their sin.
static inline void angles(const float* coordinates, const float* frequencies, int64_t d,
                          float* table) {
  const Vec x = broadcast(coordinates[0]), y = broadcast(coordinates[1]);
  for (int64_t i = 0; i < d; i += kLanes) {
    const SinCos angle =
        sincos(x * load_up_to(frequencies + i, d - i) + y * load_up_to(frequencies + d + i, d - i));
    store_up_to(table + i, angle.cos, d - i);
    store_up_to(table + d + i, angle.sin, d - i);
  }
}

// A vector of channels of a row; kWhole: d and the distance of partners are multiples of kLanes, so
// that it is always full.
template <bool kWhole, typename T>
static inline Vec load_channels(const T* from, int64_t left) {
  return kWhole ? load(from) : load_up_to(from, left);
}
template <bool kWhole, typename T>
static inline void store_channels(T* to, Vec v, int64_t left) {
  if (kWhole) {
    store(to, v);
  } else {
    store_up_to(to, v, left);
  }
}

static inline int64_t partner_distance(Rope rope, int64_t d) {
  return rope == Rope::kAxial ? d / 4 : d / 2;
}

// Calls pair(first channel, second channel, channels left) for all pairs of partners, a vector of
// them at once.
template <typename Pair>
static inline void for_pairs(int64_t distance, int64_t d, const Pair& pair) {
  for (int64_t start = 0; start < d; start += 2 * distance) {
    for (int64_t i = start; i < start + distance; i += kLanes)
      pair(i, i + distance, start + distance - i);
  }
}

// A head's part of a row is a few cache lines, then comes a jump that the hardware does not
// foresee.
constexpr int64_t kRowsAhead = 8;

template <int kWrite, typename T>
static inline void prefetch_row(const T* row, int64_t d) {
  const char* bytes = reinterpret_cast<const char*>(row);
  const int64_t size = d * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(bytes + i, kWrite, 3);
}

template <bool kWhole, typename T>
static inline void copy_rows(const T* from, int64_t stride, int64_t rows, int64_t d, float scale,
                             float* to, int64_t ld) {
  for (int64_t row = 0; row < rows; ++row, from += stride, to += ld) {
    prefetch_row<0>(from + kRowsAhead * stride, d);
    for (int64_t i = 0; i < d; i += kLanes) {
      store_channels<kWhole>(to + i, scale * load_channels<kWhole>(from + i, d - i), d - i);
    }
  }
}

template <bool kWhole, typename T>
static inline void rotate_rows(int64_t distance, const float* table, const T* from, int64_t stride,
                               int64_t rows, int64_t d, float scale, float* to, int64_t ld) {
  for (int64_t row = 0; row < rows; ++row, from += stride, to += ld, table += 2 * d) {
    prefetch_row<0>(from + kRowsAhead * stride, d);
    const float* cosine = table;
    const float* sine = table + d;
    for_pairs(distance, d, [&](int64_t i, int64_t j, int64_t left) {
      const Vec a = scale * load_channels<kWhole>(from + i, left);
      const Vec b = scale * load_channels<kWhole>(from + j, left);
      store_channels<kWhole>(
          to + i,
          a * load_channels<kWhole>(cosine + i, left) - b * load_channels<kWhole>(sine + i, left),
          left);
      store_channels<kWhole>(
          to + j,
          b * load_channels<kWhole>(cosine + j, left) + a * load_channels<kWhole>(sine + j, left),
          left);
    });
  }
}

// to = scale * from, f32.
template <typename T>
static inline void stage_rows(const T* from, int64_t stride, int64_t rows, int64_t d, float scale,
                              float* to, int64_t ld) {
  if (d % kLanes == 0) {
    copy_rows<true>(from, stride, rows, d, scale, to, ld);
  } else {
    copy_rows<false>(from, stride, rows, d, scale, to, ld);
  }
}

// to = scale * rope(from), f32. table: a row of 2d a token.
template <typename T>
static inline void stage_rotated_rows(Rope rope, const float* table, const T* from, int64_t stride,
                                      int64_t rows, int64_t d, float scale, float* to, int64_t ld) {
  const int64_t distance = partner_distance(rope, d);
  if (rope == Rope::kNone) {
    stage_rows(from, stride, rows, d, scale, to, ld);
  } else if (distance % kLanes == 0) {
    rotate_rows<true>(distance, table, from, stride, rows, d, scale, to, ld);
  } else {
    rotate_rows<false>(distance, table, from, stride, rows, d, scale, to, ld);
  }
}

// What the gradient of the frequencies (2, d) needs besides the gradient of the rotated rows: the
// rows before rope, and where they are. sums null: not wanted.
template <typename T>
struct FrequencyGradient {
  float* sums;
  const float* coordinates;
  const T* x;
  int64_t stride;
};

template <bool kWhole, typename T>
static inline void rotate_back_rows(int64_t distance, const float* table, const float* grad_rotated,
                                    int64_t ld, int64_t rows, int64_t d, float scale, T* grad,
                                    int64_t stride, const FrequencyGradient<T>& frequencies) {
  for (int64_t row = 0; row < rows; ++row, grad_rotated += ld, grad += stride, table += 2 * d) {
    prefetch_row<1>(grad + kRowsAhead * stride, d);
    const float* cosine = table;
    const float* sine = table + d;
    const T* x = frequencies.sums ? frequencies.x + row * frequencies.stride : nullptr;
    for_pairs(distance, d, [&](int64_t i, int64_t j, int64_t left) {
      const Vec first = scale * load_channels<kWhole>(grad_rotated + i, left);
      const Vec second = scale * load_channels<kWhole>(grad_rotated + j, left);
      const Vec cos_i = load_channels<kWhole>(cosine + i, left);
      const Vec sin_i = load_channels<kWhole>(sine + i, left);
      const Vec cos_j = load_channels<kWhole>(cosine + j, left);
      const Vec sin_j = load_channels<kWhole>(sine + j, left);
      if (x) {
        const Vec a = load_channels<kWhole>(x + i, left), b = load_channels<kWhole>(x + j, left);
        const Vec angle_i = first * (-(a * sin_i) - b * cos_i);
        const Vec angle_j = second * (a * cos_j - b * sin_j);
        for (int axis = 0; axis < 2; ++axis) {
          const float position = frequencies.coordinates[2 * row + axis];
          float* to_i = frequencies.sums + axis * d + i;
          float* to_j = frequencies.sums + axis * d + j;
          store_channels<kWhole>(to_i, load_channels<kWhole>(to_i, left) + position * angle_i,
                                 left);
          store_channels<kWhole>(to_j, load_channels<kWhole>(to_j, left) + position * angle_j,
                                 left);
        }
      }
      store_channels<kWhole>(grad + i, first * cos_i + second * sin_j, left);
      store_channels<kWhole>(grad + j, second * cos_j - first * sin_i, left);
    });
  }
}

// grad = scale * from.
template <typename T>
static inline void unstage_rows(const float* from, int64_t ld, int64_t rows, int64_t d, float scale,
                                T* grad, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row, from += ld, grad += stride) {
    prefetch_row<1>(grad + kRowsAhead * stride, d);
    for (int64_t i = 0; i < d; i += kLanes)
      store_up_to(grad + i, scale * load_up_to(from + i, d - i), d - i);
  }
}

// grad = transpose of rope (scale * grad_rotated); adds to the gradient of the frequencies. grad
// may be frequencies.x.
template <typename T>
static inline void unstage_rotated_rows(Rope rope, const float* table, const float* grad_rotated,
                                        int64_t ld, int64_t rows, int64_t d, float scale, T* grad,
                                        int64_t stride, const FrequencyGradient<T>& frequencies) {
  const int64_t distance = partner_distance(rope, d);
  if (rope == Rope::kNone) {
    unstage_rows(grad_rotated, ld, rows, d, scale, grad, stride);
  } else if (distance % kLanes == 0) {
    rotate_back_rows<true>(distance, table, grad_rotated, ld, rows, d, scale, grad, stride,
                           frequencies);
  } else {
    rotate_back_rows<false>(distance, table, grad_rotated, ld, rows, d, scale, grad, stride,
                            frequencies);
  }
}

}  // namespace capi::CAPI_ISA
