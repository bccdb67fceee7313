// Bringing the operands of GEMM into the order in which the innermost loop reads them, as words
// (gemm_kernel.h).
#pragma once

#include "core/simd.h"
#include "ops/linear/gemm_kernel.h"

namespace capi::CAPI_ISA {

// One operand as lines along k: the rows of op(A), the columns of op(B).
struct Operand {
  const char* data;
  int64_t lines;
  int64_t stride;  // elements from one row in memory to the next
  bool
      lines_are_rows;  // neighbours in memory are neighbours in k; else they are neighbouring lines
};

typedef uint32_t Words8 __attribute__((vector_size(32)));

static inline uint32_t float_word(const float* from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}
static inline uint32_t float_word(const bf16* from) { return uint32_t{from->bits} << 16; }

static inline Words8 float_words8(const float* from) {
  Words8 v;
  memcpy(&v, from, sizeof v);
  return v;
}
static inline Words8 float_words8(const bf16* from) {
  uint16_t half __attribute__((vector_size(16)));
  memcpy(&half, from, sizeof half);
  return __builtin_convertvector(half, Words8) << 16;
}

// FloatsOf<T>: every element becomes an f32 word.
template <typename T>
struct FloatsOf {
  typedef T Element;
  static constexpr int kPerWord = 1;
  // Along k: the words that start at `from`.
  static inline Words8 along8(const T* from) { return float_words8(from); }
  static inline uint32_t along(const T* from, int64_t /*valid*/) { return float_word(from); }
  // Across lines: the words of neighbouring lines at one k; `below` is the next k.
  static inline Words8 across8(const T* from, const T* /*below*/) { return float_words8(from); }
  static inline uint32_t across(const T* from, const T* /*below*/) { return float_word(from); }
};

// Pairs: two neighbours in k become one word, the earlier one in the lower half.
struct PairsOf {
  typedef bf16 Element;
  static constexpr int kPerWord = 2;
  static inline Words8 along8(const bf16* from) {
    Words8 v;
    memcpy(&v, from, sizeof v);
    return v;
  }
  static inline uint32_t along(const bf16* from, int64_t valid) {
    return from[0].bits | (valid > 1 ? uint32_t{from[1].bits} << 16 : 0u);
  }
  static inline Words8 across8(const bf16* from, const bf16* below) {
    const Words8 low = float_words8(from) >> 16;
    return below == nullptr ? low : low | float_words8(below);
  }
  static inline uint32_t across(const bf16* from, const bf16* below) {
    return from->bits | (below == nullptr ? 0u : uint32_t{below->bits} << 16);
  }
};

static inline void transpose8(Words8 rows[8]) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32((__m256i)rows[i], (__m256i)rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32((__m256i)rows[i], (__m256i)rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = (Words8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    rows[i + 4] = (Words8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

// Interleaves kWidth lines from `line` on (those past the last are zero): to[word * kWidth + i]. k
// from `from`, `depth` elements of it; an odd last element is paired with zero.
template <typename Source, int kWidth>
static void interleave_rows(const Operand& operand, int64_t line, int64_t from, int64_t depth,
                            uint32_t* to) {
  typedef typename Source::Element T;
  constexpr int kPer = Source::kPerWord;
  static_assert(kWidth % 8 == 0, "transposed eight by eight");
  const T* const data = reinterpret_cast<const T*>(operand.data) + line * operand.stride + from;
  const int64_t words = (depth + kPer - 1) / kPer, whole = depth / kPer / 8 * 8;
  for (int i = 0; i < kWidth; i += 8) {
    const int64_t valid = operand.lines - line - i;
    const T* const rows = data + i * operand.stride;
    for (int64_t word = 0; word < whole; word += 8) {
      Words8 block[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        block[r] = r < valid ? Source::along8(rows + r * operand.stride + word * kPer) : Words8{};
      }
      transpose8(block);
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) memcpy(to + (word + r) * kWidth + i, &block[r], sizeof(Words8));
    }
    for (int64_t word = whole; word < words; ++word) {
      for (int r = 0; r < 8; ++r) {
        to[word * kWidth + i + r] =
            r < valid ? Source::along(rows + r * operand.stride + word * kPer, depth - word * kPer)
                      : 0u;
      }
    }
  }
}

// The same from an operand whose lines are neighbours in memory, for `panels` panels of kWidth
// lines at once, so that memory is read in long runs. Panels lie words * kWidth apart.
template <typename Source, int kWidth>
static void interleave_columns(const Operand& operand, int64_t line, int64_t from, int64_t depth,
                               int64_t panels, int64_t distance, uint32_t* to) {
  typedef typename Source::Element T;
  constexpr int kPer = Source::kPerWord;
  const int64_t words = (depth + kPer - 1) / kPer;
  const T* const data = reinterpret_cast<const T*>(operand.data) + from * operand.stride + line;
  const int64_t valid = operand.lines - line,
                whole = valid / kWidth < panels ? valid / kWidth : panels;
  // The hardware does not foresee the jump from row to row; this many rows ahead covers the way to
  // memory.
  constexpr int64_t kAhead = 8;
  const int64_t line_elements = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t word = 0; word < words; ++word) {
    const T* const row = data + word * kPer * operand.stride;
    if ((word + kAhead) * kPer < depth) {
      for (int64_t i = 0; i < panels * kWidth; i += line_elements) {
        for (int r = 0; r < kPer; ++r)
          __builtin_prefetch(row + (kAhead * kPer + r) * operand.stride + i);
      }
    }
    const T* const below = kPer == 2 && word * 2 + 1 < depth ? row + operand.stride : nullptr;
    uint32_t* out = to + word * kWidth;
    for (int64_t panel = 0; panel < whole; ++panel, out += distance) {
      const T* const first = row + panel * kWidth;
      const T* const second = below == nullptr ? nullptr : below + panel * kWidth;
      if (kPer == 1 && sizeof(T) == kWordBytes) {
        memcpy(out, first, kWidth * kWordBytes);
        continue;
      }
      int i = 0;
      for (; i + 8 <= kWidth; i += 8) {
        const Words8 v = Source::across8(first + i, second == nullptr ? nullptr : second + i);
        memcpy(out + i, &v, sizeof v);
      }
      for (; i < kWidth; ++i)
        out[i] = Source::across(first + i, second == nullptr ? nullptr : second + i);
    }
    for (int64_t panel = whole; panel < panels; ++panel, out += distance) {
      for (int i = 0; i < kWidth; ++i) {
        const int64_t at = panel * kWidth + i;
        out[i] =
            at < valid ? Source::across(row + at, below == nullptr ? nullptr : below + at) : 0u;
      }
    }
  }
}

template <typename Source, int kWidth>
static void interleave(const Operand& operand, int64_t line, int64_t from, int64_t depth,
                       int64_t panels, int64_t distance, uint32_t* to) {
  if (!operand.lines_are_rows) {
    interleave_columns<Source, kWidth>(operand, line, from, depth, panels, distance, to);
    return;
  }
  if constexpr (kWidth % 8 == 0) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      interleave_rows<Source, kWidth>(operand, line + panel * kWidth, from, depth,
                                      to + panel * distance);
    }
  }
}

// Copies `lines` rows as words, `stride` words apart; rows past the last are zero.
template <typename Source>
static void copy_rows(const Operand& operand, int64_t line, int64_t from, int64_t depth,
                      int64_t lines, int64_t stride, uint32_t* to) {
  typedef typename Source::Element T;
  constexpr int kPer = Source::kPerWord;
  const int64_t words = (depth + kPer - 1) / kPer, whole = depth / kPer / 8 * 8;
  for (int64_t i = 0; i < lines; ++i, to += stride) {
    if (line + i >= operand.lines) {
      memset(to, 0, static_cast<size_t>(words * kWordBytes));
      continue;
    }
    const T* const row =
        reinterpret_cast<const T*>(operand.data) + (line + i) * operand.stride + from;
    for (int64_t word = 0; word < whole; word += 8) {
      const Words8 v = Source::along8(row + word * kPer);
      memcpy(to + word, &v, sizeof v);
    }
    for (int64_t word = whole; word < words; ++word) {
      to[word] = Source::along(row + word * kPer, depth - word * kPer);
    }
  }
}

}  // namespace capi::CAPI_ISA
