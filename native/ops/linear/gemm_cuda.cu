// GEMM in one of two ways. A product with nothing but a bias, a residual or an old value to add is
// cuBLASLt's alone. Otherwise its sums go to scratch memory in f32, and a kernel adds the rest,
// applies GELU and rounds once. cuBLASLt's own GELU is the tanh form, and storing sums in bf16
// would round twice.
//
// Sums are made and taken up some rows at a time, so that they stay in the L2 cache: for fc1 of
// ViT-L and bf16, [139264, 4096], what passes through memory is then c and pre, 2 or 4 bytes an
// element, instead of 10 or 12.
#include "core/cuda/block.h"
#include "core/cuda/device_attribute.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "core/normal_tail.h"
#include "ops/linear/gemm.h"
#include "ops/linear/gemm_product_cuda.h"

namespace capi {

namespace {

// One 16-byte access of bf16, two of f32; sums are padded to whole ones.
constexpr int kVec = 8;
constexpr int kThreads = 256;
// Rows of one thread: their sums are all asked for before the first is used, 128 bytes under way.
constexpr int kRowsAThread = 4;
// Parts of the product are whole tiles of cuBLASLt's kernels, 256 rows at most.
constexpr int64_t kPartRows = 256;

// What is left to do for a part of c: pointers are to its first row, absent ones are null.
// c = gelu'(sums + bias [+ c]) + residual in the forms of gemm.h.
template <typename T>
struct Finish {
  const float* sums;  // (rows, sums_stride), alpha applied
  const void* bias;   // (cols)
  const T* residual;  // (rows, residual_stride), may be c
  T* pre;             // (rows, pre_stride)
  T* c;               // (rows, c_stride)
  int64_t sums_stride, residual_stride, pre_stride, c_stride;
  int64_t rows, cols;
  bool bias_is_f32, accumulate;
  GeluEpilogue gelu;
};

struct Activation {
  float value;  // z cdf(z)
  float slope;  // cdf(z) + z pdf(z)
};

// As simd_math.h has it: max(z, 0) - |z| tail(|z|).
__device__ __forceinline__ Activation activation(float z) {
  const float a = fabsf(z);
  const float bell = __expf(a * a * -0.5f);
  const float tail = normal_tail_series(__fdividef(1.0f, a * kNormalTailScale + 1.0f)) * bell;
  return {fmaxf(z, 0.0f) - a * tail, (z < 0.0f ? tail : 1.0f - tail) + z * bell * 0.398942280401f};
}

// c's elements [col, col + kCount) of one row. z: its sums.
template <int kCount, typename T>
__device__ __forceinline__ void finish_row(const Finish<T>& f, float (&z)[kCount],
                                           const float (&bias)[kCount], int64_t row, int64_t col) {
  T* const c = f.c + row * f.c_stride + col;
#pragma unroll
  for (int j = 0; j < kCount; ++j) z[j] += bias[j];
  if (f.accumulate) {
    float before[kCount];
    load_floats(before, c);
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] += before[j];
  }
  if (f.gelu == GeluEpilogue::kForward) {
    if (f.pre != nullptr) store_floats(f.pre + row * f.pre_stride + col, z);
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] = activation(z[j]).value;
  } else if (f.gelu == GeluEpilogue::kBackward) {
    T* const pre = f.pre + row * f.pre_stride + col;
    float value[kCount];
    load_floats(value, pre);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const Activation at = activation(value[j]);
      z[j] *= at.slope;
      value[j] = at.value;
    }
    store_floats(pre, value);
  }
  if (f.residual != nullptr) {
    float other[kCount];
    load_floats(other, f.residual + row * f.residual_stride + col);
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] += other[j];
  }
  store_floats(c, z);
}

// A thread has kCount columns, whose bias it loads once, of kRowsAThread rows that are blockDim.y
// apart; threadIdx.x runs along the columns. Each element is read and written by its thread only,
// which is why c may be the residual.
template <int kCount, typename T>
__global__ void __launch_bounds__(kThreads) gemm_finish_kernel(Finish<T> f) {
  const int64_t col = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * kCount;
  const int64_t first = int64_t{blockIdx.x} * blockDim.y * kRowsAThread + threadIdx.y;
  if (col >= f.cols) return;

  float bias[kCount] = {};
  if (f.bias != nullptr) {
    if (f.bias_is_f32) {
      load_floats(bias, static_cast<const float*>(f.bias) + col);
    } else {
      load_floats(bias, static_cast<const bf16*>(f.bias) + col);
    }
  }
  float z[kRowsAThread][kCount];
#pragma unroll
  for (int i = 0; i < kRowsAThread; ++i) {
    const int64_t row = first + i * blockDim.y;
    if (row < f.rows) load_floats(z[i], f.sums + row * f.sums_stride + col);
  }
#pragma unroll
  for (int i = 0; i < kRowsAThread; ++i) {
    const int64_t row = first + i * blockDim.y;
    if (row < f.rows) finish_row(f, z[i], bias, row, col);
  }
}

template <int kCount, typename T>
void launch_finish(const Finish<T>& f, cudaStream_t stream) {
  // As many threads along a row as it has vectors, in whole warps: neighbours read neighbours.
  const int64_t vectors = (f.cols + kCount - 1) / kCount;
  unsigned along = kWarpSize;
  while (along < kThreads && along < vectors) along *= 2;
  const unsigned down = kThreads / along;
  launch(gemm_finish_kernel<kCount, T>,
         dim3(blocks_for(f.rows, int64_t{down} * kRowsAThread), blocks_for(vectors, along)),
         dim3(along, down), 0, stream, f);
}

// Rows [first, first + rows) of c.
template <typename T>
void finish(const Gemm& op, const float* sums, int64_t sums_stride, int64_t first, int64_t rows,
            cudaStream_t stream) {
  const auto from = [&](const MatrixView& view) {
    return view ? view.as<T>() + first * view.stride : nullptr;
  };
  const Finish<T> f = {
      sums,          op.bias.data, from(op.residual),  from(op.pre),
      from(op.c),    sums_stride,  op.residual.stride, op.pre.stride,
      op.c.stride,   rows,         op.c.cols,          op.bias.dtype == Dtype::kF32,
      op.accumulate, op.gelu};
  if (aligned_rows({op.c, op.bias, op.residual, op.pre}, kVec)) {
    launch_finish<kVec>(f, stream);
  } else {
    launch_finish<1>(f, stream);
  }
}

int64_t depth(const Gemm& op) { return op.transpose_a ? op.a.rows : op.a.cols; }

// Whether cuBLASLt can do all of it, rounding once.
bool is_one_product(const Gemm& op) {
  const bool types = op.a.dtype == Dtype::kBF16 || op.c.dtype == Dtype::kF32;
  const bool bias = !op.bias || (op.bias.dtype == op.c.dtype &&
                                 reinterpret_cast<uintptr_t>(op.bias.data) % 16 == 0);
  return depth(op) > 0 && types && bias && op.gelu == GeluEpilogue::kNone &&
         !(op.accumulate && op.residual);
}

MatrixView rows_of(MatrixView view, int64_t first, int64_t rows) {
  view.data = view.as<char>() + static_cast<size_t>(first * view.stride) * dtype_size(view.dtype);
  view.rows = rows;
  return view;
}

MatrixView columns_of(MatrixView view, int64_t first, int64_t cols) {
  view.data = view.as<char>() + static_cast<size_t>(first) * dtype_size(view.dtype);
  view.cols = cols;
  return view;
}

// Sums of so many rows leave half of the L2 cache to the operands.
int64_t rows_of_a_part(int64_t sums_stride) {
  const int l2_bytes = device_attribute(cudaDevAttrL2CacheSize);
  const int64_t rows = l2_bytes / 2 / (sums_stride * static_cast<int64_t>(sizeof(float)));
  return rows < kPartRows ? kPartRows : rows / kPartRows * kPartRows;
}

void multiply_through_sums(const Gemm& op, DeviceQueue& queue) {
  const int64_t stride = (op.c.cols + kVec - 1) / kVec * kVec;
  const int64_t part = rows_of_a_part(stride);
  const int64_t most = part < op.c.rows ? part : op.c.rows;
  const size_t sums_bytes = static_cast<size_t>(most * stride) * sizeof(float);
  char* const workspace = static_cast<char*>(queue.scratch(kProductWorkspaceBytes + sums_bytes));
  float* const sums = reinterpret_cast<float*>(workspace + kProductWorkspaceBytes);
  for (int64_t first = 0; first < op.c.rows; first += part) {
    const int64_t rows = part < op.c.rows - first ? part : op.c.rows - first;
    if (depth(op) > 0) {
      const MatrixView a =
          op.transpose_a ? columns_of(op.a, first, rows) : rows_of(op.a, first, rows);
      const MatrixView d = {sums, rows, op.c.cols, stride, Dtype::kF32, Backend::kCuda};
      product_cuda({a, op.b, op.transpose_a, op.transpose_b, op.alpha, {}, d, {}}, workspace,
                   queue);
    } else {
      CAPI_CUDA_CHECK(cudaMemsetAsync(sums, 0, sums_bytes, queue.handle()));
    }
    if (op.c.dtype == Dtype::kF32) {
      finish<float>(op, sums, stride, first, rows, queue.handle());
    } else {
      finish<bf16>(op, sums, stride, first, rows, queue.handle());
    }
  }
}

}  // namespace

void gemm_cuda(const Gemm& op, DeviceQueue& queue) {
  if (op.c.rows == 0) return;
  if (!is_one_product(op)) return multiply_through_sums(op, queue);
  const MatrixView c = op.accumulate ? op.c : op.residual;
  product_cuda({op.a, op.b, op.transpose_a, op.transpose_b, op.alpha, c, op.c, op.bias},
               queue.scratch(kProductWorkspaceBytes), queue);
}

}  // namespace capi
