// Integer arithmetic throughout: sums of 8-bit pixels times 22-bit weights stay below 2^31.
#include "ops/image/resize_crop.h"

#include "core/simd.h"

namespace capi::CAPI_ISA {
namespace {

typedef uint8_t ByteVec __attribute__((vector_size(kLanes)));

constexpr int32_t kHalf = 1 << (kResampleBits - 1);
constexpr int kRows =
    kLanes / 4;  // rows taken at once across: a vector holds (r, g, b, unused) of each

static inline ByteVec round_to_bytes(IntVec sum) {
  const IntVec value = sum >> kResampleBits;
  const IntVec low = value > 0 ? value : IntVec{};
  const IntVec top = IntVec{} + 255;
  return __builtin_convertvector(low < top ? low : top, ByteVec);
}

static inline IntVec widen_bytes(const uint8_t* from) {
  ByteVec bytes;
  memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, IntVec);
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
      const ByteVec pixels = round_to_bytes(sum);
      uint8_t bytes[kLanes];
      memcpy(bytes, &pixels, sizeof bytes);
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
      const ByteVec left_bytes = round_to_bytes(left), right_bytes = round_to_bytes(right);
      memcpy(out + x, &left_bytes, sizeof left_bytes);
      memcpy(out + x + kLanes, &right_bytes, sizeof right_bytes);
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
