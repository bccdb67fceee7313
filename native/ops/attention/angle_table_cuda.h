// A table of angles: of each row and channel the cosine and the sine in 32 bits, which one launch
// fills for all heads and both directions. Every head of an image reads all of its rows, so its
// size counts.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace capi {

// Both are in steps of 2^-14 from -2 on: exact for an angle of zero, else within 2^-15, 64 times
// finer than bf16. A float from 512 to 1024 has that step, so that 16 bits of it are the number.
constexpr float kAngleShift = 770.0f;
constexpr uint32_t kAngleBits = 0x44400000u;  // of 768

// No angle: neither half of one is 0. It stands for what is not finite, and comes back as NaN.
constexpr uint32_t kNoAngle = 0;

__device__ __forceinline__ uint32_t pack_angle(float cosine, float sine) {
  if (cosine != cosine) return kNoAngle;  // then the sine is NaN too
  return (__float_as_uint(cosine + kAngleShift) & 0xffffu) | __float_as_uint(sine + kAngleShift)
                                                                 << 16;
}
__device__ __forceinline__ float cosine_of(uint32_t angle) {
  if (angle == kNoAngle) return __uint_as_float(0x7fc00000u);
  return __uint_as_float((angle & 0xffffu) | kAngleBits) - kAngleShift;
}
__device__ __forceinline__ float sine_of(uint32_t angle) {
  return __uint_as_float(angle >> 16 | kAngleBits) - kAngleShift;
}

// Turns a pair of channels by rope, and a pair of gradients back: by the transpose.
__device__ __forceinline__ void turn(float& first, float& second, uint32_t i, uint32_t j) {
  const float turned = first * cosine_of(i) - second * sine_of(i);
  second = second * cosine_of(j) + first * sine_of(j);
  first = turned;
}
__device__ __forceinline__ void turn_back(float& first, float& second, uint32_t i, uint32_t j) {
  const float turned = first * cosine_of(i) + second * sine_of(j);
  second = second * cosine_of(j) - first * sine_of(i);
  first = turned;
}

}  // namespace capi
