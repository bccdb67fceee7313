// Products of small f32 matrices in cache, in register tiles, for the attention kernels.
// Only *_cpu.cpp files include this (see core/cpu_isa.h).
#pragma once

#include "core/simd.h"

namespace capi::CAPI_ISA {

// 6 rows by 2 vectors: 12 sums, 2 vectors of b and one of a fill the 16 registers of AVX2.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;

enum class TileOrder { kColumnsOutside, kRowsOutside };

// A leading dimension of at least `columns` that is an odd number of 64-byte lines, so that the
// rows of a column panel spread over all sets of the cache.
static inline int64_t leading(int64_t columns) { return ((columns + 15) / 16 | 1) * 16; }

template <int kRows, int kVectors, bool kTransposed, typename Store>
__attribute__((always_inline)) static inline void tile(const float* a, int64_t lda, const float* b,
                                                       int64_t ldb, int64_t depth, int64_t row,
                                                       int64_t vector, const Store& store) {
  Vec sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[r][v] = zero();
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec left = broadcast(kTransposed ? a[k * lda + r] : a[r * lda + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(row + r, vector + v, sums[r][v]);
  }
}

template <int kVectors, bool kTransposed, typename Store>
static inline void tile_of_rows(int rows, const float* a, int64_t lda, const float* b, int64_t ldb,
                                int64_t depth, int64_t row, int64_t vector, const Store& store) {
  switch (rows) {
    case 1:
      return tile<1, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
    case 2:
      return tile<2, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
    case 3:
      return tile<3, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
    case 4:
      return tile<4, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
    case 5:
      return tile<5, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
    default:
      return tile<kTileRows, kVectors, kTransposed>(a, lda, b, ldb, depth, row, vector, store);
  }
}

// The matrix on the right, a panel of kTileVectors vectors at a time.
struct Right {
  const float* data;
  int64_t row_step, panel_step;
};
constexpr int64_t kPanel = kTileVectors * kLanes;
static inline Right by_rows(const float* data, int64_t ld) { return {data, ld, kPanel}; }
// Panel after panel, each in one piece, as transpose() leaves them.
static inline Right by_panels(const float* data, int64_t depth) {
  return {data, kPanel, depth * kPanel};
}

// C = op(A) B with op(A) (rows, depth), B (depth, vectors * kLanes). A is stored (rows, depth), or,
// if kTransposed, (depth, rows). Calls store(row, vector, sums) once for every vector of C. B is
// read up to whole vectors.
template <bool kTransposed, TileOrder kOrder, typename Store>
static inline void multiply(const float* a, int64_t lda, const Right& b, int64_t rows,
                            int64_t vectors, int64_t depth, const Store& store) {
  // Strips of nearly equal height: a strip of one row would wait for its own sums.
  const int64_t strips = (rows + kTileRows - 1) / kTileRows;
  const int64_t height = rows / strips, taller = rows % strips;
  const int64_t panels = (vectors + kTileVectors - 1) / kTileVectors;
  const auto one = [&](int64_t strip, int64_t panel) {
    const int64_t row = strip * height + (strip < taller ? strip : taller);
    const int tall = static_cast<int>(height + (strip < taller ? 1 : 0));
    const int64_t vector = panel * kTileVectors;
    const float* from = a + (kTransposed ? row : row * lda);
    const float* right = b.data + panel * b.panel_step;
    const int64_t ldb = b.row_step;
    if (vector + kTileVectors <= vectors) {
      tile_of_rows<kTileVectors, kTransposed>(tall, from, lda, right, ldb, depth, row, vector,
                                              store);
    } else {
      tile_of_rows<1, kTransposed>(tall, from, lda, right, ldb, depth, row, vector, store);
    }
  };
  if (kOrder == TileOrder::kColumnsOutside) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      for (int64_t strip = 0; strip < strips; ++strip) one(strip, panel);
    }
  } else {
    for (int64_t strip = 0; strip < strips; ++strip) {
      for (int64_t panel = 0; panel < panels; ++panel) one(strip, panel);
    }
  }
}

typedef float Eight __attribute__((vector_size(32)));

// to (columns, rows), by panels, = from (rows, columns) transposed; both counts are rounded up to
// whole blocks of 8, which from must have and to must have room for.
static inline void transpose(const float* from, int64_t ld_from, float* to, int64_t rows,
                             int64_t columns) {
  const int64_t depth = (columns + 7) / 8 * 8;
  for (int64_t row = 0; row < rows; row += 8) {
    float* panel = to + row / kPanel * kPanel * depth + row % kPanel;
    for (int64_t column = 0; column < columns; column += 8) {
      Eight in[8], pair[8], quad[8];
      for (int i = 0; i < 8; ++i)
        memcpy(&in[i], from + (row + i) * ld_from + column, sizeof(Eight));
      for (int i = 0; i < 8; i += 2) {
        pair[i] = __builtin_shufflevector(in[i], in[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pair[i + 1] = __builtin_shufflevector(in[i], in[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
      }
      for (int i = 0; i < 8; i += 4) {
        quad[i] = __builtin_shufflevector(pair[i], pair[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        quad[i + 1] = __builtin_shufflevector(pair[i], pair[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        quad[i + 2] = __builtin_shufflevector(pair[i + 1], pair[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        quad[i + 3] = __builtin_shufflevector(pair[i + 1], pair[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
      }
      for (int i = 0; i < 4; ++i) {
        const Eight low = __builtin_shufflevector(quad[i], quad[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        const Eight high =
            __builtin_shufflevector(quad[i], quad[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        memcpy(panel + (column + i) * kPanel, &low, sizeof low);
        memcpy(panel + (column + i + 4) * kPanel, &high, sizeof high);
      }
    }
  }
}

}  // namespace capi::CAPI_ISA
