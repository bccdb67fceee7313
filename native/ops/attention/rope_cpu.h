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

// Calls pair(first channel, second channel, channels left) for all pairs of partners, a vector of
// them at once.
template <typename Pair>
static inline void for_pairs(Rope rope, int64_t d, const Pair& pair) {
  const int64_t distance = rope == Rope::kAxial ? d / 4 : d / 2;
  for (int64_t start = 0; start < d; start += 2 * distance) {
    for (int64_t i = start; i < start + distance; i += kLanes) {
      pair(i, i + distance, start + distance - i);
    }
  }
}

// to = scale * rope(from), f32. table: one row of 2d a token; null with rope none.
template <typename T>
static inline void stage_rows(Rope rope, const float* table, const T* from, int64_t stride,
                              int64_t rows, int64_t d, float scale, float* to, int64_t ld) {
  const Vec s = broadcast(scale);
  for (int64_t row = 0; row < rows; ++row, from += stride, to += ld) {
    if (rope == Rope::kNone) {
      for (int64_t i = 0; i < d; i += kLanes) {
        store_up_to(to + i, s * load_up_to(from + i, d - i), d - i);
      }
      continue;
    }
    const float* cosine = table + row * 2 * d;
    const float* sine = cosine + d;
    for_pairs(rope, d, [&](int64_t i, int64_t j, int64_t left) {
      const Vec a = s * load_up_to(from + i, left), b = s * load_up_to(from + j, left);
      const Vec first = a * load_up_to(cosine + i, left) - b * load_up_to(sine + i, left);
      const Vec second = b * load_up_to(cosine + j, left) + a * load_up_to(sine + j, left);
      store_up_to(to + i, first, left);
      store_up_to(to + j, second, left);
    });
  }
}

// grad = transpose of rope (scale * grad_rotated). With grad_frequencies (2, d), adds to it the
// gradient of the frequencies, for which x holds the rows before rope. grad may be x.
template <typename T>
static inline void unstage_rows(Rope rope, const float* table, const float* coordinates, const T* x,
                                int64_t x_stride, const float* grad_rotated, int64_t ld,
                                int64_t rows, int64_t d, float scale, T* grad, int64_t grad_stride,
                                float* grad_frequencies) {
  const Vec s = broadcast(scale);
  for (int64_t row = 0; row < rows; ++row, x += x_stride, grad_rotated += ld, grad += grad_stride) {
    if (rope == Rope::kNone) {
      for (int64_t i = 0; i < d; i += kLanes) {
        store_up_to(grad + i, s * load_up_to(grad_rotated + i, d - i), d - i);
      }
      continue;
    }
    const float* cosine = table + row * 2 * d;
    const float* sine = cosine + d;
    for_pairs(rope, d, [&](int64_t i, int64_t j, int64_t left) {
      const Vec first = s * load_up_to(grad_rotated + i, left);
      const Vec second = s * load_up_to(grad_rotated + j, left);
      const Vec cos_i = load_up_to(cosine + i, left), sin_i = load_up_to(sine + i, left);
      const Vec cos_j = load_up_to(cosine + j, left), sin_j = load_up_to(sine + j, left);
      if (grad_frequencies) {
        const Vec a = load_up_to(x + i, left), b = load_up_to(x + j, left);
        const Vec angle_i = first * (-(a * sin_i) - b * cos_i);
        const Vec angle_j = second * (a * cos_j - b * sin_j);
        for (int axis = 0; axis < 2; ++axis) {
          const Vec position = broadcast(coordinates[2 * row + axis]);
          float* sums = grad_frequencies + axis * d;
          store_up_to(sums + i, load_up_to(sums + i, left) + position * angle_i, left);
          store_up_to(sums + j, load_up_to(sums + j, left) + position * angle_j, left);
        }
      }
      store_up_to(grad + i, first * cos_i + second * sin_j, left);
      store_up_to(grad + j, second * cos_j - first * sin_i, left);
    });
  }
}

}  // namespace capi::CAPI_ISA
