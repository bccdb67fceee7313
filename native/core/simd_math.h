// The normal distribution and the exact GELU on vectors, for kernel files (see simd.h).
#pragma once

#include "core/normal_tail.h"
#include "core/simd.h"

namespace capi::CAPI_ISA {

static inline Vec absolute(Vec x) {
  UintVec bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0x7FFFFFFFu;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// exp(-a^2/2), and the weight of the normal distribution beyond a >= 0: (1 - erf(a/sqrt2)) / 2,
// without cancellation in tails.
struct NormalTail {
  Vec bell;
  Vec tail;
};
static inline NormalTail normal_tail(Vec a) {
  const Vec bell = exp(a * a * -0.5f);
  return {bell, normal_tail_series(1.0f / (a * kNormalTailScale + 1.0f)) * bell};
}

// gelu(z) = z * cdf(z), with the exact error function; absolute error below 3e-7 for |z| < 4.
static inline Vec gelu(Vec z) {
  const Vec a = absolute(z);
  return vmax(z, zero()) - a * normal_tail(a).tail;
}

struct GeluAndSlope {
  Vec value;
  Vec slope;  // cdf(z) + z * pdf(z)
};
static inline GeluAndSlope gelu_and_slope(Vec z) {
  const Vec a = absolute(z);
  const NormalTail normal = normal_tail(a);
  const Vec cdf = select(z < 0.0f, normal.tail, 1.0f - normal.tail);
  return {vmax(z, zero()) - a * normal.tail, cdf + z * normal.bell * 0.398942280401f};
}

}  // namespace capi::CAPI_ISA
