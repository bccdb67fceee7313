// Vectors of f32 for kernel files, in the width of the instruction set they are compiled for.
// Only *_cpu.cpp files include this (see cpu_isa.h): every function lives in namespace
// capi::CAPI_ISA.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/dtype.h"

#ifndef CAPI_ISA
#error "simd.h is for kernel files, which CMakeLists.txt compiles once for each instruction set"
#endif

namespace capi::CAPI_ISA {

// CAPI_WIDE: 16 lanes, in 512-bit registers or, in a test build, emulated by pairs of 256-bit ones.
#if defined(CAPI_WIDE)
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t UintVec __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfVec __attribute__((vector_size(kLanes * 2)));

static inline Vec broadcast(float value) { return value - Vec{}; }
static inline Vec zero() { return Vec{}; }

static inline Vec load(const float* from) {
  Vec v;
  memcpy(&v, from, sizeof v);
  return v;
}
static inline void store(float* to, Vec v) { memcpy(to, &v, sizeof v); }

// bf16 is the upper half of an f32. (The portable form becomes two steps of widening.)
static inline Vec widen(HalfVec half) {
#if defined(CAPI_WIDE) && defined(__AVX512F__)
  const UintVec wide = reinterpret_cast<UintVec>(
      _mm512_maskz_cvtepu16_epi32(0xFFFF, reinterpret_cast<__m256i>(half)));
#elif !defined(CAPI_WIDE)
  const UintVec wide =
      reinterpret_cast<UintVec>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(half)));
#else
  const UintVec wide = __builtin_convertvector(half, UintVec);
#endif
  const UintVec bits = wide << 16;
  Vec v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
// Round to nearest even; NaN stays NaN.
static inline HalfVec narrow(Vec v) {
  UintVec bits;
  memcpy(&bits, &v, sizeof bits);
  const UintVec rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const UintVec quiet = (bits >> 16) | 0x40u;
  const UintVec is_nan = reinterpret_cast<UintVec>(v != v);
  return __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), HalfVec);
}
static inline Vec load(const bf16* from) {
  HalfVec half;
  memcpy(&half, from, sizeof half);
  return widen(half);
}
static inline void store(bf16* to, Vec v) {
  const HalfVec half = narrow(v);
  memcpy(to, &half, sizeof half);
}

static inline float to_float(float value) { return value; }
static inline float to_float(bf16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}
static inline void set(float* to, float value) { *to = value; }
static inline void set(bf16* to, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  to->bits = static_cast<uint16_t>(value != value ? (bits >> 16) | 0x40u
                                                  : (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// The first `count` lanes (0 < count <= kLanes); the others are zero, or left alone in memory.
template <typename T>
static inline Vec load_partial(const T* from, int64_t count) {
  T buffer[kLanes] = {};
  memcpy(buffer, from, static_cast<size_t>(count) * sizeof(T));
  return load(buffer);
}
template <typename T>
static inline void store_partial(T* to, Vec v, int64_t count) {
  T buffer[kLanes];
  store(buffer, v);
  memcpy(to, buffer, static_cast<size_t>(count) * sizeof(T));
}

// A whole vector of a row of which `left` > 0 elements remain, or those that remain.
template <typename T>
static inline Vec load_up_to(const T* from, int64_t left) {
  return left >= kLanes ? load(from) : load_partial(from, left);
}
template <typename T>
static inline void store_up_to(T* to, Vec v, int64_t left) {
  if (left >= kLanes) {
    store(to, v);
  } else {
    store_partial(to, v, left);
  }
}

// body(T{}) with T = float or bf16, the dtypes that front doors call floating.
template <typename Body>
static inline void with_floating(Dtype dtype, const Body& body) {
  if (dtype == Dtype::kBF16) {
    body(bf16{});
  } else {
    body(float{});
  }
}

static inline Vec select(IntVec mask, Vec yes, Vec no) { return mask ? yes : no; }
// NaN in either operand: the second is returned, as vmaxps does. (The masked forms with every lane
// on are plain instructions; the unmasked ones make GCC 12 warn of an uninitialised operand.)
static inline Vec vmax(Vec a, Vec b) {
#if defined(CAPI_WIDE) && defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xFFFF, a, b);
#elif !defined(CAPI_WIDE)
  return _mm256_max_ps(a, b);
#else
  return select(a > b, a, b);
#endif
}
static inline Vec vmin(Vec a, Vec b) {
#if defined(CAPI_WIDE) && defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xFFFF, a, b);
#elif !defined(CAPI_WIDE)
  return _mm256_min_ps(a, b);
#else
  return select(a < b, a, b);
#endif
}
static inline Vec vsqrt(Vec a) {
#if defined(CAPI_WIDE) && defined(__AVX512F__)
  return _mm512_maskz_sqrt_ps(0xFFFF, a);
#elif !defined(CAPI_WIDE)
  return _mm256_sqrt_ps(a);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

// Always the same tree, so that a sum has the same bits on every call.
static inline float sum(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
static inline float max_lane(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  }
  return lane[0];
}

// exp to 1 unit in the last place of f32: 2^n * e^r with |r| <= ln2/2, degree-6 polynomial (Cephes
// expf coefficients). Below -87.3 the result fades through subnormals to 0; above 88.7 it is +inf;
// NaN stays NaN.
static inline Vec exp(Vec x) {
  const Vec high = broadcast(88.8f), low = broadcast(-104.0f);
  const Vec clipped = vmin(vmax(x, low), high);
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec n = (clipped * 1.44269504088896341f + magic) - magic;
  Vec r = clipped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // 2^n in two factors, so that neither overflows and the product may be subnormal.
  const IntVec whole = __builtin_convertvector(n, IntVec);
  const IntVec half = whole >> 1;
  const IntVec first = (half + 127) << 23, second = (whole - half + 127) << 23;
  Vec scale_first, scale_second;
  memcpy(&scale_first, &first, sizeof first);
  memcpy(&scale_second, &second, sizeof second);
  const Vec result = p * scale_first * scale_second;
  return select(x != x, x, select(x > 88.72284f, broadcast(__builtin_inff()), result));
}

}  // namespace capi::CAPI_ISA
