// The innermost loop of GEMM: one tile of kTileRows x kTileCols sums held in registers.
//
// Operands are seen as 4-byte words along k: a word is one f32 (bf16 is widened while it is packed)
// or, where the CPU multiplies bf16 itself, a pair of bf16 neighbours in k.
#pragma once

#include "core/simd.h"

namespace capi::CAPI_ISA {

// Two vectors wide and as many rows as the registers hold (16 of AVX2, 32 of AVX-512) beside two
// vectors of B. 12 of 32 hide the latency of a multiply-add and divide every width of a ViT.
#if defined(CAPI_WIDE)
constexpr int kTileRows = 12;
// Words of k at a time: a B panel (32 columns) of 24 KB and an A panel of 9 KB, within the 48 KB of
// L1 of Zen 5 and later Intel.
constexpr int64_t kBlockWords = 192;
#else
constexpr int kTileRows = 6;
// A B panel (16 columns) of 16 KB and an A panel of 6 KB, within an L1 of 32 KB.
constexpr int64_t kBlockWords = 256;
#endif
constexpr int kTileCols = 2 * kLanes;
constexpr int kTileSize = kTileRows * kTileCols;
constexpr int64_t kWordBytes = 4;

// How a word of A multiplies a vector of words of B.
struct FloatWords {
  static constexpr int kPerWord = 1;
  typedef Vec Words;
  static inline Words load_words(const char* from) {
    return load(reinterpret_cast<const float*>(from));
  }
  static inline Words broadcast_word(const char* from) {
    float word;
    memcpy(&word, from, sizeof word);
    return broadcast(word);
  }
  static inline Vec multiply_add(Words a, Words b, Vec sum) { return a * b + sum; }
};

#if defined(CAPI_BF16_DOT)
struct PairWords {
  static constexpr int kPerWord = 2;
  typedef UintVec Words;
  static inline Words load_words(const char* from) {
    Words v;
    memcpy(&v, from, sizeof v);
    return v;
  }
  static inline Words broadcast_word(const char* from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word - Words{};
  }
  static inline Vec multiply_add(Words a, Words b, Vec sum) {
#if defined(__AVX512BF16__)
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else  // the same sums in the same order
    const Words odd_a = a & 0xFFFF0000u, odd_b = b & 0xFFFF0000u, even_a = a << 16,
                even_b = b << 16;
    sum = (Vec)odd_a * (Vec)odd_b + sum;
    return (Vec)even_a * (Vec)even_b + sum;
#endif
  }
};
#endif

// out = A panel * B panel [+ addend], over `words` words of k.
//   kInterleaved: a holds, for each word, kTileRows neighbours; else rows a_stride bytes apart.
//   b holds, for each word, kTileCols neighbours.
//   addend: kTileRows x kTileCols, or null.
// Not inlined: the loop needs every register for itself.
template <typename Kind, bool kInterleaved>
__attribute__((noinline)) static void tile_product(int64_t words, const char* a, int64_t a_stride,
                                                   const char* b, const float* addend, float* out,
                                                   int64_t out_stride) {
  Vec sums[kTileRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    __builtin_prefetch(out + i * out_stride, 1);
    sums[i][0] = zero();
    sums[i][1] = zero();
  }
  // Every third row has a pointer of its own; the others are one or two strides from it.
  const char* thirds[kTileRows / 3];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows / 3; ++i) thirds[i] = a + 3 * i * a_stride;
#pragma GCC unroll 4
  for (int64_t word = 0; word < words; ++word) {
    const typename Kind::Words b0 = Kind::load_words(b),
                               b1 = Kind::load_words(b + kLanes * kWordBytes);
    b += kTileCols * kWordBytes;
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      const typename Kind::Words ai = Kind::broadcast_word(
          kInterleaved ? a + i * kWordBytes : thirds[i / 3] + i % 3 * a_stride);
      sums[i][0] = Kind::multiply_add(ai, b0, sums[i][0]);
      sums[i][1] = Kind::multiply_add(ai, b1, sums[i][1]);
    }
    if (kInterleaved) {
      a += kTileRows * kWordBytes;
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows / 3; ++i) {
        thirds[i] += kWordBytes;
        __asm__("" : "+r"(thirds[i]));  // or GCC spends a register on each row
      }
    }
  }
  if (addend != nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      sums[i][0] += load(addend + i * kTileCols);
      sums[i][1] += load(addend + i * kTileCols + kLanes);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    store(out + i * out_stride, sums[i][0]);
    store(out + i * out_stride + kLanes, sums[i][1]);
  }
}

}  // namespace capi::CAPI_ISA
