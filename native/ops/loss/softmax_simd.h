// What the kernels of this family and of clustering/ share: loops over the columns of a row with a
// ragged end, exp and log for the arguments they meet. For *_cpu.cpp files only (see core/simd.h).
#pragma once

#include <math.h>

#include "core/simd.h"

namespace capi::CAPI_ISA {

// A whole vector of columns, or the last few of a row.
struct Whole {};
struct Ragged {
  int64_t count;
};

template <typename T>
static inline Vec load(const T* from, Whole) {
  return load(from);
}
template <typename T>
static inline Vec load(const T* from, Ragged end) {
  return load_partial(from, end.count);
}
template <typename T>
static inline void store(T* to, Vec v, Whole) {
  store(to, v);
}
template <typename T>
static inline void store(T* to, Vec v, Ragged end) {
  store_partial(to, v, end.count);
}
// Lanes beyond the end of the row become `fill`.
static inline Vec fill_beyond(Vec v, Whole, float) { return v; }
static inline Vec fill_beyond(Vec v, Ragged end, float fill) {
  float lane[kLanes];
  store(lane, v);
  for (int64_t i = end.count; i < kLanes; ++i) lane[i] = fill;
  return load(lane);
}

// body(first column, Whole or Ragged) over a row.
template <typename Body>
static inline void for_columns(int64_t columns, const Body& body) {
  int64_t column = 0;
  for (; column + kLanes <= columns; column += kLanes) body(column, Whole{});
  if (column < columns) body(column, Ragged{columns - column});
}

// exp(x + shift) for x <= 0, from scale = e^shift * 2^-100 (shift <= 50): the shift costs no
// rounding of the argument. Fades through subnormals to 0; NaN stays NaN. Polynomial of
// core/simd.h.
static inline Vec exp_nonpositive(Vec x, float scale) {
  const Vec clipped = vmax(broadcast(-156.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer n; adding 227 too leaves n + 227, the biased exponent of
  // 2^(n+100), in the low bits.
  const Vec magic = broadcast(12582912.0f + 227.0f);
  const Vec shifted = clipped * 1.44269504088896341f + magic;
  const Vec n = shifted - magic;
  Vec r = clipped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  UintVec bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = bits << 23;
  Vec power;
  memcpy(&power, &bits, sizeof power);
  return p * power * scale;
}
constexpr float kExpScale = 0x1p-100f;          // shift 0
constexpr float kExpScale50 = 0x1.19103ep-28f;  // shift 50

// log(x) for x >= 0: log(0) is finite (-104), since it only ever meets a factor of 0. NaN stays
// NaN. Cephes logf.
static inline Vec log_nonnegative(Vec x) {
  const Vec tiny = broadcast(0x1p-126f);
  // Subnormals are brought into range first.
  const IntVec small = x < tiny;
  x = select(small, x * 0x1p24f, x);
  x = vmax(tiny, x);
  IntVec bits;
  memcpy(&bits, &x, sizeof bits);
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
  const IntVec exponent = (bits - 0x3F3504F3) >> 23;
  const IntVec mantissa = bits - (exponent << 23);
  Vec m;
  memcpy(&m, &mantissa, sizeof m);
  const Vec e = __builtin_convertvector(exponent, Vec) - select(small, broadcast(24.0f), zero());
  const Vec f = m - 1.0f;
  const Vec square = f * f;
  Vec p = broadcast(7.0376836292e-2f);
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const Vec y = p * square * f - e * 2.12194440e-4f - square * 0.5f;
  return select(x != x, x, f + y + e * 0.693359375f);
}

}  // namespace capi::CAPI_ISA
