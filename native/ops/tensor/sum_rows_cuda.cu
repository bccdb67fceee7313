#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/tensor/sum_rows.h"

namespace capi {

namespace {

constexpr int64_t kChunk = 256;  // rows summed into one, as on the CPU
// 8 warps take 32 rows of a chunk each: the 139 264 rows of a teacher's batch by the 1024 columns
// of ViT-L are 2176 blocks, 20 a multiprocessor of an A100, which holds 5 of them at a time.
constexpr int kWarps = 8;

// A block sums one chunk of rows over one tile of columns, of one 16-byte access a lane: every
// element is read once. Warps take rows in turn; their sums are added in order.
template <int kVec, typename T>
__global__ void sum_rows_kernel(const T* __restrict__ x,   // (rows, cols)
                                float* __restrict__ sums,  // (chunks, cols)
                                int64_t rows, int64_t cols, int64_t stride, unsigned tiles,
                                float scale) {
  constexpr int kTile = kWarpSize * kVec;
  float* const partial = shared_memory<float>();  // (warps, tile)
  const int lane = threadIdx.x, warp = threadIdx.y;
  const int64_t chunk = blockIdx.x / tiles, begin = int64_t{blockIdx.x % tiles} * kTile;

  float sum[kVec] = {};
  const int64_t col = begin + lane * kVec;
  if (col < cols) {
    const int64_t end = (chunk + 1) * kChunk < rows ? (chunk + 1) * kChunk : rows;
    // Four rows on their way at a time: 2 KB a warp.
#pragma unroll 4
    for (int64_t row = chunk * kChunk + warp; row < end; row += kWarps) {
      float values[kVec];
      load_floats(values, x + row * stride + col);
#pragma unroll
      for (int i = 0; i < kVec; ++i) sum[i] += values[i];
    }
  }
  store_floats(partial + warp * kTile + lane * kVec, sum);
  __syncthreads();

  for (int i = warp * kWarpSize + lane; i < kTile && begin + i < cols; i += kWarps * kWarpSize) {
    float total = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += partial[w * kTile + i];
    sums[chunk * cols + begin + i] = total * scale;
  }
}

template <int kVec, typename T>
void sum_chunks(const MatrixView& x, int64_t chunks, float* sums, float scale,
                cudaStream_t stream) {
  constexpr int64_t kTile = kWarpSize * kVec;
  const unsigned tiles = blocks_for(x.cols, kTile);
  launch(sum_rows_kernel<kVec, T>, static_cast<unsigned>(chunks) * tiles, dim3(kWarpSize, kWarps),
         kWarps * kTile * sizeof(float), stream, x.as<T>(), sums, x.rows, x.cols, x.stride, tiles,
         scale);
}

int64_t chunks_of(int64_t rows) { return rows <= kChunk ? 1 : (rows + kChunk - 1) / kChunk; }

}  // namespace

// Sums of chunks are summed by chunks again, until one row is left: 139 264 rows take three rounds.
void sum_rows_cuda(const SumRows& op, DeviceQueue& queue) {
  int64_t rows_between = 0;
  for (int64_t n = chunks_of(op.x.rows); n > 1; n = chunks_of(n)) rows_between += n;
  float* next = nullptr;
  if (rows_between > 0) {
    next = static_cast<float*>(
        queue.scratch(static_cast<size_t>(rows_between * op.x.cols) * sizeof(float)));
  }

  MatrixView x = op.x;
  for (;;) {
    const int64_t chunks = chunks_of(x.rows);
    const bool last = chunks == 1;
    float* const sums = last ? op.y.as<float>() : next;
    const float scale = last ? op.scale : 1.0f;
    if (x.dtype == Dtype::kF32) {
      aligned_rows({x}, 4) ? sum_chunks<4, float>(x, chunks, sums, scale, queue.handle())
                           : sum_chunks<1, float>(x, chunks, sums, scale, queue.handle());
    } else {
      aligned_rows({x}, 8) ? sum_chunks<8, bf16>(x, chunks, sums, scale, queue.handle())
                           : sum_chunks<1, bf16>(x, chunks, sums, scale, queue.handle());
    }
    if (last) break;
    x = {sums, chunks, x.cols, x.cols, Dtype::kF32, x.backend};
    next += chunks * x.cols;
  }
}

}  // namespace capi
