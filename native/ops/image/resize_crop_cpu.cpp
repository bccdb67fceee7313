// Integer arithmetic throughout: sums of 8-bit pixels times 22-bit weights stay below 2^31.
#include "ops/image/resize_crop.h"

#include "core/simd.h"

namespace capi::CAPI_ISA {
namespace {

constexpr int32_t kHalf = 1 << (kResampleBits - 1);
// Rows taken at once across: a vector holds (r, g, b, unused) of each.
constexpr int kRows = kLanes / 4;

// Bytes to 32-bit lanes and back by intrinsics, eight at a time: GCC 12 takes the portable form
// lane by lane, which made a crop four times slower.
static inline __m256i widen_eight(const uint8_t* from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
static inline void round_eight(uint8_t* to, __m256i sum) {
  const __m256i value = _mm256_srai_epi32(sum, kResampleBits);
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}

static inline IntVec widen_bytes(const uint8_t* from) {
#if defined(CAPI_WIDE)
  const __m256i halves[2] = {widen_eight(from), widen_eight(from + 8)};
  IntVec wide;
  memcpy(&wide, halves, sizeof wide);
  return wide;
#else
  return reinterpret_cast<IntVec>(widen_eight(from));
#endif
}

// kLanes bytes: sums without their fractional bits, clipped.
static inline void store_rounded(uint8_t* to, IntVec sum) {
#if defined(CAPI_WIDE)
  __m256i halves[2];
  memcpy(halves, &sum, sizeof halves);
  round_eight(to, halves[0]);
  round_eight(to + 8, halves[1]);
#else
  round_eight(to, reinterpret_cast<__m256i>(sum));
#endif
}

// Interleaves `rows` <= kRows rows: staged[col][row][4].
static inline void stage(const ResampleRows& op, int64_t first, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* from = op.box + (first + row) * op.stride;
    uint8_t* to = op.staged + row * 4;
    for (int64_t col = 0; col + 1 < op.cols; ++col) memcpy(to + col * kLanes, from + col * 3, 4);
    memcpy(to + (op.cols - 1) * kLanes, from + (op.cols - 1) * 3, 3);
  }
}

}  // namespace

void resample_rows_cpu(const ResampleRows& op) {
  static_assert(kLanes <= kResampleStage);
  memset(op.staged, 0, static_cast<size_t>(op.cols * kLanes));
  for (int64_t first = 0; first < op.rows; first += kRows) {
    const int64_t rows = op.rows - first < kRows ? op.rows - first : kRows;
    stage(op, first, rows);
    for (int64_t i = 0; i < op.out_cols; ++i) {
      const int32_t* weight = op.taps.weight + i * op.taps.taps;
      const uint8_t* in = op.staged + int64_t{op.taps.first[i]} * kLanes;
      IntVec sum = IntVec{} + kHalf;
      for (int32_t k = 0; k < op.taps.count[i]; ++k)
        sum += widen_bytes(in + k * kLanes) * weight[k];
      uint8_t bytes[kLanes];
      store_rounded(bytes, sum);
      for (int64_t row = 0; row < rows; ++row) {
        memcpy(op.out + (first + row) * op.out_stride + i * 3, bytes + row * 4, 3);
      }
    }
  }
}

void resample_columns_cpu(const ResampleColumns& op) {
  for (int64_t i = 0; i < op.out_rows; ++i) {
    const int32_t* weight = op.taps.weight + i * op.taps.taps;
    const int32_t count = op.taps.count[i];
    const uint8_t* in = op.in + int64_t{op.taps.first[i]} * op.in_stride;
    uint8_t* out = op.out + i * op.out_stride;
    int64_t x = 0;
    for (; x + 2 * kLanes <= op.width; x += 2 * kLanes) {
      IntVec left = IntVec{} + kHalf, right = left;
      for (int32_t k = 0; k < count; ++k) {
        left += widen_bytes(in + k * op.in_stride + x) * weight[k];
        right += widen_bytes(in + k * op.in_stride + x + kLanes) * weight[k];
      }
      store_rounded(out + x, left);
      store_rounded(out + x + kLanes, right);
    }
    for (; x < op.width; ++x) {
      int32_t sum = kHalf;
      for (int32_t k = 0; k < count; ++k) sum += in[k * op.in_stride + x] * weight[k];
      const int32_t value = sum >> kResampleBits;
      out[x] = static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }
  }
}

}  // namespace capi::CAPI_ISA
