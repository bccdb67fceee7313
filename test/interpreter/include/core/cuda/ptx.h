// Stands in for native/core/cuda/ptx.h: the same functions by the definitions in the PTX manual.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace capi {

template <typename T>
T* shared_memory() {
  return reinterpret_cast<T*>(interpreter::shared_memory());
}

// Spelled out, since the compiler may split the access of a struct and lose the alignment check.
template <typename Vector>
__attribute__((no_sanitize("thread"))) Vector load_16(const void* from) {
  Vector value;
  interpreter::check_read(from, 16);
  __builtin_memcpy(&value, from, 16);
  return value;
}
template <typename Vector>
__attribute__((no_sanitize("thread"))) void store_16(void* to, Vector value) {
  interpreter::check_write(to, 16);
  __builtin_memcpy(to, &value, 16);
}
__attribute__((no_sanitize("thread"))) inline uint2 load_8(const void* from) {
  uint2 value;
  interpreter::check_read(from, 8);
  __builtin_memcpy(&value, from, 8);
  return value;
}
__attribute__((no_sanitize("thread"))) inline void store_8(void* to, uint2 value) {
  interpreter::check_write(to, 8);
  __builtin_memcpy(to, &value, 8);
}

inline void cp_async_16(void* shared, const void* global, bool valid = true) {
  interpreter::async_copy(shared, global, 16, valid);
}
inline void cp_async_commit() { interpreter::async_commit(); }
template <int kPending>
void cp_async_wait() {
  interpreter::async_wait(kPending);
}

namespace interpreter {

struct MatrixLoad {
  const void* row;
  uint32_t* registers;
};

// Reads the 8 rows of matrix `matrix` and gives every lane its two elements.
template <bool kTranspose>
void load_matrix(void* const operands[32], int matrix) {
  uint16_t elements[8][8];
  for (int r = 0; r < 8; ++r) {
    const void* row = static_cast<MatrixLoad*>(operands[8 * matrix + r])->row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
      fail("ldmatrix: a row that is not 16-byte aligned");
    // The lanes that get a row's elements are the ones that read it.
    for (int c = 0; c < 4; ++c) {
      check_read(static_cast<const char*>(row) + 4 * c, 4, kTranspose ? 8 * c + r / 2 : 4 * r + c);
    }
    std::memcpy(elements[r], row, 16);
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4, col = 2 * (lane % 4);
    const uint16_t low = kTranspose ? elements[col][row] : elements[row][col];
    const uint16_t high = kTranspose ? elements[col + 1][row] : elements[row][col + 1];
    static_cast<MatrixLoad*>(operands[lane])->registers[matrix] = low | uint32_t{high} << 16;
  }
}

template <int kMatrices, bool kTranspose>
void ldmatrix(const char* name, uint32_t* registers, const void* row) {
  MatrixLoad mine = {row, registers};
  warp_operation(name, 0xffffffffu, &mine, [](void* const operands[32], uint32_t) {
    for (int matrix = 0; matrix < kMatrices; ++matrix) load_matrix<kTranspose>(operands, matrix);
  });
}

struct MatrixProduct {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

inline float half_of(uint32_t pair, int which) {
  return __uint_as_float(which == 0 ? pair << 16 : pair & 0xffff0000u);
}

}  // namespace interpreter

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  interpreter::ldmatrix<4, false>("ldmatrix_x4", r, row);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  interpreter::ldmatrix<4, true>("ldmatrix_x4_trans", r, row);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  interpreter::ldmatrix<2, false>("ldmatrix_x2", r, row);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  interpreter::ldmatrix<2, true>("ldmatrix_x2_trans", r, row);
}

inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  using namespace interpreter;
  MatrixProduct mine = {c, a, b};
  warp_operation("mma_m16n8k16", 0xffffffffu, &mine, [](void* const operands[32], uint32_t) {
    float left[16][16], right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto* from = static_cast<MatrixProduct*>(operands[lane]);
      const int g = lane / 4, t = lane % 4;
      for (int half = 0; half < 2; ++half) {
        left[g][2 * t + half] = half_of(from->a[0], half);
        left[g + 8][2 * t + half] = half_of(from->a[1], half);
        left[g][2 * t + 8 + half] = half_of(from->a[2], half);
        left[g + 8][2 * t + 8 + half] = half_of(from->a[3], half);
        right[2 * t + half][g] = half_of(from->b[0], half);
        right[2 * t + 8 + half][g] = half_of(from->b[1], half);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto* to = static_cast<MatrixProduct*>(operands[lane]);
      const int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 4; ++i) {
        const int row = g + (i < 2 ? 0 : 8), col = 2 * t + i % 2;
        float sum = to->c[i];
        for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k][col];
        to->c[i] = sum;
      }
    }
  });
}

inline float to_float(bf16 value) { return __uint_as_float(uint32_t{value.bits} << 16); }
inline float to_float(float value) { return value; }

namespace interpreter {
// Round to nearest even; NaN stays NaN.
inline uint32_t bf16_bits(float value) {
  const uint32_t bits = __float_as_uint(value);
  if (value != value) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
}  // namespace interpreter

inline uint32_t pack_bf16(float low, float high) {
  return interpreter::bf16_bits(low) | interpreter::bf16_bits(high) << 16;
}

inline float exp2_approx(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126f ? 0.0f : result;
}

}  // namespace capi
