#include "ops/clustering/sinkhorn_scaling_cuda.h"

namespace capi::sinkhorn {

namespace {

// NaN when either is.
__device__ __forceinline__ float greater(float a, float b) { return b > a || b != b ? b : a; }

constexpr int kMaxThreads = 128;
// Rows read before the first of them is used: 8 KB a block under way.
constexpr int kMaxRows = 4;

// A block takes one chunk of rows and kMaxThreads * kVec columns, a thread kVec of them: each logit
// is read once, 2 bytes in bf16, and a partial of 4 bytes a column written.
template <typename T, int kVec>
__global__ void column_max_kernel(const T* __restrict__ logits,  // (groups * rows, columns)
                                  float* __restrict__ partials,  // (groups * chunks, columns)
                                  Groups at) {
  const int column = static_cast<int>(blockIdx.y * kMaxThreads + threadIdx.x) * kVec;
  if (column >= at.columns) return;
  const Chunk chunk = chunk_of(at);
  float most[kVec];
#pragma unroll
  for (int j = 0; j < kVec; ++j) most[j] = -__int_as_float(0x7f800000);
#pragma unroll kMaxRows
  for (int64_t row = chunk.begin; row < chunk.end; ++row) {
    const Raw<T, kVec> l = Raw<T, kVec>::load(logits + row * at.columns + column);
#pragma unroll
    for (int j = 0; j < kVec; ++j) most[j] = greater(most[j], l[j]);
  }
  store_floats(partials + int64_t{blockIdx.x} * at.columns + column, most);
}

// One thread a column of a group.
__global__ void merge_max_kernel(const float* __restrict__ partials,  // (groups, chunks, columns)
                                 float* __restrict__ column_max,      // (groups, columns)
                                 Groups at, bool accumulate) {
  const int64_t k = int64_t{blockIdx.x} * kMaxThreads + threadIdx.x;
  if (k >= at.groups * at.columns) return;
  const int64_t group = k / at.columns;
  const float* const from = partials + group * at.chunks * at.columns + k % at.columns;
  float most = accumulate ? greater(column_max[k], from[0]) : from[0];
  for (int64_t chunk = 1; chunk < at.chunks; ++chunk) {
    most = greater(most, from[chunk * at.columns]);
  }
  column_max[k] = most;
}

// A block takes the rows of one chunk in turn, its threads own the columns
// (sinkhorn_groups_cuda.h). E of a row is computed once, into registers: times c it adds to the
// row's sum, which is reduced over the block and gives r; times r it adds to the column sums, in
// registers too. kHeld: the next row is on its way to shared memory meanwhile, column_max and
// column_scale are there already. Bytes a logit: 2 (bf16) from memory, 8 from shared memory for the
// column's vectors; a block of 32 rows reads these 8 and writes 4 once more a column. An A100's
// share of memory for a row of 32 KB on one multiprocessor is 2500 cycles; its arithmetic is some
// 15 instructions a logit, 1900.
template <typename F>
__global__ void __launch_bounds__(kMostThreads, 1)
    column_sums_kernel(const typename F::T* __restrict__ logits,  // (groups * rows, columns)
                       const float* __restrict__ column_max,      // (groups, columns)
                       const float* __restrict__ column_scale,    // (groups, columns) or null
                       float* __restrict__ row_scale,             // (groups * rows)
                       float* __restrict__ partials,              // (groups * chunks, columns)
                       Groups at, Exponent exponent) {
  using Logits = Raw<typename F::T, F::kVec>;
  using Floats = Raw<float, F::kVec>;
  constexpr int kVec = F::kVec;
  const Owned<F> owned(at.columns);
  const int slabs = owned.slabs();
  const bool scaled = column_scale != nullptr;
  const Chunk chunk = chunk_of(at);
  column_max += chunk.group * at.columns;
  if (scaled) column_scale += chunk.group * at.columns;
  partials += int64_t{blockIdx.x} * at.columns;

  BlockReduction reduce(shared_memory<float>());
  const Held<F> held(reduce.after());
  if constexpr (F::kHeld) {
    held.next_row.fetch(logits + chunk.begin * at.columns, owned);
    held.column_max.fetch(column_max, owned);
    if (scaled) held.column_scale.fetch(column_scale, owned);
  }

  float sums[F::kColumns] = {};  // held form
  for (int64_t row = chunk.begin; row < chunk.end; ++row) {
    Logits raw[F::kVectors] = {};
    if constexpr (F::kHeld) {
      cp_async_wait<0>();
      owned.each(0, [&](int v, int) { raw[v] = held.next_row.load(v); });
      if (row + 1 < chunk.end) held.next_row.fetch(logits + (row + 1) * at.columns, owned);
    }
    float e[F::kColumns];
    const auto exponentials = [&](int slab) {
      owned.each(slab, [&](int v, int column) {
        const Logits l = F::kHeld ? raw[v] : Logits::load(logits + row * at.columns + column);
        const Floats most = F::kHeld ? held.column_max.load(v) : Floats::load(column_max + column);
#pragma unroll
        for (int j = 0; j < kVec; ++j) e[v * kVec + j] = shifted_exp(l[j], most[j], exponent);
      });
    };

    float r = 1.0f;
    if (scaled) {
      r = row_scale[row];
      float row_sum[1] = {0.0f};
      for (int slab = 0; slab < slabs; ++slab) {
        exponentials(slab);
        owned.each(slab, [&](int v, int column) {
          const Floats c =
              F::kHeld ? held.column_scale.load(v) : Floats::load(column_scale + column);
#pragma unroll
          for (int j = 0; j < kVec; ++j) row_sum[0] += e[v * kVec + j] * c[j];
        });
      }
      reduce(row_sum);
      r = next_row_scale(r, row_sum[0]);
    }
    if (threadIdx.x == 0) row_scale[row] = r;

    for (int slab = 0; slab < slabs; ++slab) {
      if (!scaled || !F::kHeld) exponentials(slab);
      owned.each(slab, [&](int v, int column) {
        if constexpr (F::kHeld) {
#pragma unroll
          for (int j = 0; j < kVec; ++j) sums[v * kVec + j] += r * e[v * kVec + j];
        } else {  // the owner alone uses this part of partials
          float sum[kVec] = {};
          if (row > chunk.begin) load_floats(sum, partials + column);
#pragma unroll
          for (int j = 0; j < kVec; ++j) sum[j] += r * e[v * kVec + j];
          store_floats(partials + column, sum);
        }
      });
    }
  }
  if constexpr (F::kHeld) {
    owned.each(0, [&](int v, int column) {
      float sum[kVec];
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum[j] = sums[v * kVec + j];
      store_floats(partials + column, sum);
    });
  }
}

template <typename T, int kVec>
void column_max(const MatrixView& logits, const Groups& groups, float* partials,
                cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(groups.all_chunks()),
                  blocks_for(groups.columns, kMaxThreads * kVec));
  launch(column_max_kernel<T, kVec>, grid, kMaxThreads, 0, stream, logits.as<T>(), partials,
         groups);
}

}  // namespace

void column_max_pass(const MatrixView& logits, const Groups& groups, bool accumulate, float* into,
                     float* partials, cudaStream_t stream) {
  const bool wide = aligned_rows({logits}, 8);
  if (logits.dtype == Dtype::kBF16) {
    wide ? column_max<bf16, 8>(logits, groups, partials, stream)
         : column_max<bf16, 1>(logits, groups, partials, stream);
  } else {
    wide ? column_max<float, 8>(logits, groups, partials, stream)
         : column_max<float, 1>(logits, groups, partials, stream);
  }
  launch(merge_max_kernel, blocks_for(groups.all_columns(), kMaxThreads), kMaxThreads, 0, stream,
         partials, into, groups, accumulate);
}

void column_sums_pass(const MatrixView& logits, const Groups& groups, double target_temp,
                      const float* column_max, const float* column_scale, float* row_scale,
                      float* partials, cudaStream_t stream) {
  const bool wide = aligned_rows({logits}, 8) && aligned_columns(column_max, column_scale);
  with_form(logits, wide, column_scale != nullptr, [&](auto form, int threads, size_t bytes) {
    using F = decltype(form);
    using T = typename F::T;
    launch(column_sums_kernel<F>, static_cast<unsigned>(groups.all_chunks()), threads, bytes,
           stream, logits.as<T>(), column_max, column_scale, row_scale, partials, groups,
           exponent_of(target_temp));
  });
}

}  // namespace capi::sinkhorn
