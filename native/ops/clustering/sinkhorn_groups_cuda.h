// The groups of logits as the kernels over them see them: chunks of rows, the columns that a thread
// owns, and E. For *_cuda.cu files only.
#pragma once

#include <algorithm>

#include "core/cuda/device_attribute.h"
#include "core/cuda/launch.h"
#include "ops/loss/softmax_cuda.h"

namespace capi::sinkhorn {

constexpr float kEps = 1e-8f;

// A block takes a chunk of rows of one group and leaves partial sums over them, 4 bytes a column:
// at 32 rows of bf16 a sixteenth of what it reads. A block fills a multiprocessor, so rows are
// shared out for all of these to work to the end, each time with as many rows: the 8192 of 16
// positions of ViT-L in three rounds of 26 on the 108 of an A100, in two of 32 on the 132 of an
// H100. On the same kind of GPU this depends on the shape only: two runs give the same bits.
constexpr int64_t kMostChunkRows = 32, kFewestChunkRows = 4;

struct Groups {
  int64_t groups, rows, chunks;  // rows and chunks of one group
  int columns, chunk_rows;

  int64_t all_chunks() const { return groups * chunks; }
  int64_t all_columns() const { return groups * columns; }
};

inline Groups groups_of(const MatrixView& logits, int64_t groups) {
  const int64_t blocks = device_attribute(cudaDevAttrMultiProcessorCount);
  const int64_t rounds = blocks_for(logits.rows, blocks * kMostChunkRows);
  const int64_t most = blocks_for(logits.rows, blocks * rounds);
  const int64_t rows = logits.rows / groups;
  const int64_t chunks = blocks_for(rows, std::max(most, kFewestChunkRows));
  return {groups, rows, chunks, static_cast<int>(logits.cols),
          static_cast<int>(blocks_for(rows, chunks))};
}

// The rows of a block's chunk, numbered over all groups, and its group.
struct Chunk {
  int64_t group, begin, end;
};
__device__ __forceinline__ Chunk chunk_of(const Groups& at) {
  const int64_t group = blockIdx.x / at.chunks, begin = blockIdx.x % at.chunks * at.chunk_rows;
  const int64_t end = begin + at.chunk_rows < at.rows ? begin + at.chunk_rows : at.rows;
  return {group, group * at.rows + begin, group * at.rows + end};
}

// The kernels that need whole rows keep what they know of a column in registers of the one thread
// that owns it. At most 64 of them are free for each of 1024 threads, a whole multiprocessor.
constexpr int kMostThreads = 1024;

// The form of such a kernel.
template <typename Element, int kVector, bool kWhole>
struct Form {
  using T = Element;
  // Columns of one access: 8 where every row of every matrix is aligned for it, else 1.
  static constexpr int kVec = kVector;
  // A slab, the columns of all threads, is a whole row. The block then keeps column_max,
  // column_scale and the next row in shared memory: 160 KB for 16384 columns of bf16, of the 163 KB
  // that sm_80 has. Else kernels take slab by slab and read these where they need them.
  static constexpr bool kHeld = kWhole;
  // Columns of a thread. 32 bytes: 1024 threads take the 16384 prototypes of ViT-L in bf16. Fewer
  // where rows are read again: addresses take registers.
  static constexpr int kColumns = kHeld ? 32 / static_cast<int>(sizeof(T)) : kVec == 1 ? 4 : 8;
  static constexpr int kVectors = kColumns / kVec;
};

// kVec neighbouring columns of one row, as they lie in memory.
template <typename T, int kVec>
struct Raw {
  static_assert(kVec == 1 || kVec * sizeof(T) % 16 == 0, "whole 16-byte accesses, or one element");
  static constexpr int kPart = kVec == 1 ? 1 : 16 / static_cast<int>(sizeof(T));
  static constexpr int kParts = kVec / kPart;

  uint32_t words[kVec == 1 ? 1 : 4 * kParts];

  // Part p lies at from + p * part_stride.
  __device__ __forceinline__ static Raw load(const T* from, int part_stride = kPart) {
    Raw raw;
    if constexpr (kVec == 1) {
      raw.words[0] = __float_as_uint(to_float(*from));
    } else {
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        const uint4 part = load_16<uint4>(from + p * part_stride);
        raw.words[4 * p] = part.x, raw.words[4 * p + 1] = part.y;
        raw.words[4 * p + 2] = part.z, raw.words[4 * p + 3] = part.w;
      }
    }
    return raw;
  }
  __device__ __forceinline__ float operator[](int j) const {
    if constexpr (kVec == 1 || sizeof(T) == 4) {
      return __uint_as_float(words[j]);
    } else {
      return __uint_as_float(j % 2 == 0 ? words[j / 2] << 16 : words[j / 2] & 0xffff0000u);
    }
  }
};

// Which columns a thread owns: vectors of kVec, a block's width apart, so that a warp reads whole
// lines.
template <typename F>
class Owned {
 public:
  __device__ __forceinline__ explicit Owned(int columns) : columns_(columns) {}

  __device__ __forceinline__ int slabs() const {
    if (F::kHeld) return 1;
    const int slab = static_cast<int>(blockDim.x) * F::kColumns;
    return (columns_ + slab - 1) / slab;
  }
  // body(v, its first column) for the vectors v of a slab that the row has.
  template <typename Body>
  __device__ __forceinline__ void each(int slab, const Body& body) const {
#pragma unroll
    for (int v = 0; v < F::kVectors; ++v) {
      const int first = column(slab, v);
      if (first < columns_) body(v, first);
    }
  }

 private:
  __device__ __forceinline__ int column(int slab, int v) const {
    return static_cast<int>((slab * F::kVectors + v) * blockDim.x + threadIdx.x) * F::kVec;
  }

  int columns_;
};

// Shared memory for one element of each column of a slab. Only the owner of a column uses its
// place, so no barriers are needed. The 16-byte parts of neighbouring threads lie together: no bank
// conflicts.
template <typename T, typename F>
struct Places {
  using Vector = Raw<T, F::kVec>;
  T* base;

  __device__ __forceinline__ T* after() const { return base + blockDim.x * F::kColumns; }
  __device__ __forceinline__ T* at(int v, int part) const {
    return base + ((v * Vector::kParts + part) * blockDim.x + threadIdx.x) * Vector::kPart;
  }
  __device__ __forceinline__ Vector load(int v) const {
    return Vector::load(at(v, 0), static_cast<int>(blockDim.x) * Vector::kPart);
  }
  // Begins to copy a row, as one group of copies.
  __device__ __forceinline__ void fetch(const T* row, const Owned<F>& owned) const {
    owned.each(0, [&](int v, int column) {
#pragma unroll
      for (int p = 0; p < Vector::kParts; ++p) {
        cp_async_16(at(v, p), row + column + p * Vector::kPart);
      }
    });
    cp_async_commit();
  }
};

// What a block of the held form keeps in shared memory, in this order.
template <typename F>
struct Held {
  Places<float, F> column_max;
  Places<typename F::T, F> next_row;
  Places<float, F> column_scale;

  __device__ __forceinline__ explicit Held(float* shared)
      : column_max{shared},
        next_row{reinterpret_cast<typename F::T*>(column_max.after())},
        column_scale{reinterpret_cast<float*>(next_row.after())} {}
  static size_t bytes(int threads, bool scaled) {
    return static_cast<size_t>(threads) * F::kColumns *
           (sizeof(typename F::T) + sizeof(float) * (scaled ? 2 : 1));
  }
};

// Turns (logits - column max) / target_temp into a power of two: log2(e) / target_temp as a sum of
// two floats, and where everything has underflowed.
struct Exponent {
  float high, low, least;
};
inline Exponent exponent_of(double target_temp) {
  const double slope = 1.4426950408889634 / target_temp;
  const float high = static_cast<float>(slope);
  return {high, static_cast<float>(slope - static_cast<double>(high)),
          static_cast<float>(-156.0 * target_temp)};
}

// E: exp((logit - most) / target_temp + 50), the shift without rounding the argument. Fades through
// subnormals to 0; NaN stays NaN. The special function unit sees [-1/2, 1/2] only, since a column
// scale may raise an entry of any exponent: ten instructions instead of four.
__device__ __forceinline__ float shifted_exp(float logit, float most, const Exponent& e) {
  float x = logit - most;
  x = x < e.least ? e.least : x;
  // Adding 1.5 * 2^23 rounds to an integer n; adding 227 too leaves n + 227, the biased exponent of
  // 2^(n + 100), in the low bits.
  constexpr float kMagic = 12582912.0f + 227.0f;
  const float shifted = fmaf(x, e.high, kMagic);
  const float n = shifted - kMagic;
  const float rest = fmaf(x, e.low, fmaf(x, e.high, -n));
  const float power = __uint_as_float(__float_as_uint(shifted) << 23);
  constexpr float kScale = 0x1.19103ep-28f;  // e^50 * 2^-100
  return exp2_approx(rest) * power * kScale;
}

__device__ __forceinline__ float next_row_scale(float scale, float row_sum) {
  if (row_sum == 0.0f) return 0.0f;  // every entry underflowed: the row stays zero
  const float next = scale / (scale * row_sum + kEps);
  constexpr float kMost = 3.402823466e38f;
  return next > kMost ? kMost : next;
}

// run(form, threads, bytes of shared memory), for rows of `columns`; scaled: by column_scale.
template <typename F, typename Run>
void with_form(F form, int64_t columns, bool scaled, const Run& run) {
  const int64_t warps = blocks_for(columns, F::kColumns * kWarpSize);
  const int threads =
      warps * kWarpSize < kMostThreads ? static_cast<int>(warps * kWarpSize) : kMostThreads;
  const size_t held_bytes = F::kHeld ? Held<F>::bytes(threads, scaled) : 0;
  run(form, threads, BlockReduction::kSharedBytes + held_bytes);
}
template <typename T, typename Run>
void with_form(int64_t columns, bool wide, bool scaled, const Run& run) {
  using Whole = Form<T, 8, true>;
  if (!wide) return with_form(Form<T, 1, false>(), columns, scaled, run);
  if (columns > kMostThreads * Whole::kColumns) {
    return with_form(Form<T, 8, false>(), columns, scaled, run);
  }
  with_form(Whole(), columns, scaled, run);
}
template <typename Run>
void with_form(const MatrixView& logits, bool wide, bool scaled, const Run& run) {
  return logits.dtype == Dtype::kBF16 ? with_form<bf16>(logits.cols, wide, scaled, run)
                                      : with_form<float>(logits.cols, wide, scaled, run);
}

// Whether vectors of a group's columns begin where 16-byte accesses may.
inline bool aligned_columns(const float* column_max, const float* column_scale) {
  return (reinterpret_cast<uintptr_t>(column_max) | reinterpret_cast<uintptr_t>(column_scale)) %
             16 ==
         0;
}

}  // namespace capi::sinkhorn
