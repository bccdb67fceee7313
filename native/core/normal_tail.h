// The weight of the normal distribution beyond a >= 0, (1 - erf(a/sqrt2)) / 2, as
// exp(-a^2/2) normal_tail_series(1 / (1 + kNormalTailScale a)): a polynomial fitted for this
// project, within 4e-8, so that every backend computes the same GELU.
#pragma once

namespace capi {

constexpr float kNormalTailScale = 0.28f;

// V: float, or a vector of floats; inlined, since vectors belong to kernel files (simd.h).
template <typename V>
__attribute__((always_inline)) constexpr V normal_tail_series(V t) {
  V p = t * -1.033643911e-01f + 3.800643093e-01f;
  p = p * t + -2.213735990e-01f;
  p = p * t + 2.565827902e-01f;
  p = p * t + 7.231685796e-02f;
  p = p * t + 1.157740689e-01f;
  return p * t;
}

}  // namespace capi
