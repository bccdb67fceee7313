#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/patches/tokens.h"

namespace capi {

namespace {

constexpr int kWarps = 4;
// Sums: ViT-L rows of bf16 are 128 accesses of 16 bytes.
constexpr int kThreads = kWarps * kWarpSize;

// Tokens of an image: registers, then visible patches, then masked ones.
struct Layout {
  int64_t batch, registers, visible, masked;

  __device__ int64_t length() const { return registers + visible + masked; }
};

// One warp a token: reads the row that it comes from and that of its position, writes it.
template <int kVec, typename T, typename P>
__global__ void tokens_forward_kernel(
    T* __restrict__ tokens,               // (batch * length, dim)
    const P* __restrict__ registers,      // (layout.registers, dim)
    const T* __restrict__ patches,        // (batch * layout.visible, dim)
    const P* __restrict__ mask_token,     // (dim)
    const P* __restrict__ positions,      // (n_positions, dim) or null
    const int32_t* __restrict__ visible,  // (batch * layout.visible) or null: all, in order
    const int32_t* __restrict__ masked,   // (batch * layout.masked), the same
    Layout layout, int64_t n_positions, int64_t dim, int64_t tokens_stride,
    int64_t patches_stride) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  const int64_t image = row / layout.length();
  if (image >= layout.batch) return;
  const int64_t number = row % layout.length();
  const int64_t v = number - layout.registers, m = v - layout.visible;
  const T* patch = nullptr;
  const P* parameter = nullptr;
  const P* position = nullptr;
  if (v < 0) {
    parameter = registers + number * dim;
  } else {
    const int64_t i = m < 0 ? image * layout.visible + v : image * layout.masked + m;
    const int32_t* const indices = m < 0 ? visible : masked;
    if (m < 0) {
      patch = patches + i * patches_stride;
    } else {
      parameter = mask_token;
    }
    if (positions != nullptr) {
      const int64_t index = indices != nullptr ? indices[i] : m < 0 ? v : m;
      position = positions + position_of(index, n_positions) * dim;
    }
  }
  tokens += row * tokens_stride;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < dim; i += kWarpSize * kVec) {
    float x[kVec];
    if (patch != nullptr) {
      load_floats(x, patch + i);
    } else {
      load_floats(x, parameter + i);
    }
    if (position != nullptr) {
      float p[kVec];
      load_floats(p, position + i);
#pragma unroll
      for (int j = 0; j < kVec; ++j) x[j] += p[j];
    }
    store_floats(tokens + i, x);
  }
}

// One warp a patch: copies its gradient.
template <int kVec, typename T>
__global__ void grad_patches_kernel(const T* __restrict__ grad_tokens,  // (batch * length, dim)
                                    T* __restrict__ grad_patches,       // (batch * visible, dim)
                                    Layout layout, int64_t dim, int64_t grad_tokens_stride,
                                    int64_t grad_patches_stride) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (row >= layout.batch * layout.visible) return;
  const int64_t from =
      row / layout.visible * layout.length() + layout.registers + row % layout.visible;
  grad_tokens += from * grad_tokens_stride;
  grad_patches += row * grad_patches_stride;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < dim; i += kWarpSize * kVec) {
    float x[kVec];
    load_floats(x, grad_tokens + i);
    store_floats(grad_patches + i, x);
  }
}

template <int kVec>
__device__ void add(float (&sum)[kVec], const float (&x)[kVec]) {
#pragma unroll
  for (int j = 0; j < kVec; ++j) sum[j] += x[j];
}

// A block sums kTokenRowsInSum rows of a group, a thread kVec columns of them. Group g has the
// `count` tokens from offset + g on of every image, image-major: a register, or all mask tokens.
template <int kVec, typename T>
__global__ void sum_tokens_kernel(const T* __restrict__ grad_tokens,  // (batch * length, dim)
                                  float* __restrict__ partials,       // (groups, chunks, dim)
                                  int64_t length, int64_t offset, int64_t count, int64_t rows,
                                  int64_t chunks, int64_t dim, int64_t stride) {
  const int64_t begin = blockIdx.x % chunks * kTokenRowsInSum;
  const int left =
      static_cast<int>(rows - begin < kTokenRowsInSum ? rows - begin : kTokenRowsInSum);
  grad_tokens += (offset + blockIdx.x / chunks) * stride;
  partials += blockIdx.x * dim;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < dim; i += kThreads * kVec) {
    int64_t token = begin % count;
    const T* from = grad_tokens + (begin / count * length + token) * stride + i;
    float sum[kVec] = {};
#pragma unroll 8
    for (int row = 0; row < left; ++row) {
      float x[kVec];
      load_floats(x, from);
      add(sum, x);
      const bool last = ++token == count;
      from += (last ? length - count + 1 : 1) * stride;
      token = last ? 0 : token;
    }
    store_floats(partials + i, sum);
  }
}

// One thread a column of a group; chunks are added in order.
__global__ void merge_partials_kernel(const float* __restrict__ partials,  // (groups, chunks, dim)
                                      float* __restrict__ sums,            // (groups, dim)
                                      int64_t columns, int64_t chunks, int64_t dim) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= columns) return;
  partials += i / dim * chunks * dim + i % dim;
  float total = 0.0f;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk * dim];
  sums[i] = total;
}

// Indices that a thread looks at between two barriers, and the shared memory that they need: the
// matches, in order, and how many each warp found in each round.
constexpr int kRounds = 4;
constexpr int kSearched = kRounds * kThreads;
constexpr size_t kSearchBytes = sizeof(int64_t) * kSearched + sizeof(int) * kRounds * kWarps;

// A block a position and kThreads * kVec columns: looks for the position's tokens among all of the
// batch and adds their rows in order. Learned positions are an ablation, so that looking at every
// index once for each position (512 images of ViT-L: 256 times 184 KB, from L2) is good enough.
template <int kVec, typename T>
__global__ void grad_positions_kernel(
    const T* __restrict__ grad_tokens,    // (batch * length, dim)
    float* __restrict__ grad_positions,   // (n_positions, dim)
    const int32_t* __restrict__ visible,  // (batch * layout.visible) or null: all, in order
    const int32_t* __restrict__ masked,   // (batch * layout.masked), the same
    Layout layout, int64_t n_positions, int64_t tiles, int64_t dim, int64_t stride) {
  int64_t* const matches = shared_memory<int64_t>();
  int* const counts = reinterpret_cast<int*>(matches + kSearched);  // [kRounds][kWarps]
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int64_t position = blockIdx.x / tiles;
  const int64_t column = (blockIdx.x % tiles * kThreads + threadIdx.x) * kVec;
  const int64_t patches = layout.visible + layout.masked;
  float sum[kVec] = {};

  // Two barriers a turn: counts are read before the second, matches before the next turn's first.
  for (int64_t begin = 0; begin < layout.batch * patches; begin += kSearched) {
    int64_t row[kRounds];  // of grad_tokens, -1 where it has another position
    int before[kRounds];   // matches of the warp's lower lanes
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int64_t i = begin + round * kThreads + threadIdx.x;
      row[round] = -1;
      if (i < layout.batch * patches) {
        const int64_t image = i / patches, v = i % patches, m = v - layout.visible;
        int64_t index = m < 0 ? v : m;
        if (m < 0 && visible != nullptr) index = visible[image * layout.visible + v];
        if (m >= 0 && masked != nullptr) index = masked[image * layout.masked + m];
        if (position_of(index, n_positions) == position) {
          row[round] = image * layout.length() + layout.registers + v;
        }
      }
      const unsigned votes = __ballot_sync(kAllLanes, row[round] >= 0);
      before[round] = __popc(votes & ((1u << lane) - 1));
      if (lane == 0) counts[round * kWarps + warp] = __popc(votes);
    }
    __syncthreads();
    int found = 0;
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      for (int w = 0; w < kWarps; ++w) {
        if (w == warp && row[round] >= 0) matches[found + before[round]] = row[round];
        found += counts[round * kWarps + w];
      }
    }
    __syncthreads();
    for (int match = 0; match < found && column < dim; ++match) {
      float x[kVec];
      load_floats(x, grad_tokens + matches[match] * stride + column);
      add(sum, x);
    }
  }
  if (column < dim) store_floats(grad_positions + position * dim + column, sum);
}

template <int kVec, typename T, typename P>
void forward(const TokensForward& op, cudaStream_t stream) {
  launch(tokens_forward_kernel<kVec, T, P>, blocks_for(op.tokens.rows, kWarps),
         dim3(kWarpSize, kWarps), 0, stream, op.tokens.as<T>(), op.registers.as<P>(),
         op.patches.as<T>(), op.mask_token.as<P>(), op.positions.as<P>(), op.visible.as<int32_t>(),
         op.masked.as<int32_t>(), Layout{op.batch, op.n_registers, op.n_visible, op.n_masked},
         op.positions.rows, op.tokens.cols, op.tokens.stride, op.patches.stride);
}

// Groups of tokens to be summed over the batch; see sum_tokens_kernel.
struct Groups {
  float* sums;  // null: not wanted
  int64_t groups, offset, count, rows;

  int64_t chunks() const { return blocks_for(rows, kTokenRowsInSum); }
  int64_t partial_rows() const { return sums != nullptr ? groups * chunks() : 0; }
};

template <int kVec, typename T>
void backward(const TokensBackward& op, DeviceQueue& queue) {
  const cudaStream_t stream = queue.handle();
  const int64_t dim = op.grad_tokens.cols, stride = op.grad_tokens.stride;
  const T* const grad_tokens = op.grad_tokens.as<T>();
  const Layout layout = {op.batch, op.n_registers, op.n_visible, op.n_masked};
  const int64_t length = op.n_registers + op.n_visible + op.n_masked;
  if (op.grad_patches) {
    launch(grad_patches_kernel<kVec, T>, blocks_for(op.batch * op.n_visible, kWarps),
           dim3(kWarpSize, kWarps), 0, stream, grad_tokens, op.grad_patches.as<T>(), layout, dim,
           stride, op.grad_patches.stride);
  }

  const Groups registers = {op.grad_registers.as<float>(), op.n_registers, 0, 1, op.batch};
  const Groups masks = {op.grad_mask_token.as<float>(), 1, op.n_registers + op.n_visible,
                        op.n_masked, op.batch * op.n_masked};
  float* partials = nullptr;
  if (registers.sums != nullptr || masks.sums != nullptr) {
    partials = static_cast<float*>(
        queue.scratch(static_cast<size_t>((registers.partial_rows() + masks.partial_rows()) * dim) *
                      sizeof(float)));
  }
  for (const Groups& of : {registers, masks}) {
    if (of.sums == nullptr) continue;
    launch(sum_tokens_kernel<kVec, T>, static_cast<unsigned>(of.partial_rows()), kThreads, 0,
           stream, grad_tokens, partials, length, of.offset, of.count, of.rows, of.chunks(), dim,
           stride);
    launch(merge_partials_kernel, blocks_for(of.groups * dim, kThreads), kThreads, 0, stream,
           partials, of.sums, of.groups * dim, of.chunks(), dim);
    partials += of.partial_rows() * dim;
  }

  if (op.grad_positions) {
    const int64_t positions = op.grad_positions.rows, tiles = blocks_for(dim, kThreads * kVec);
    launch(grad_positions_kernel<kVec, T>, static_cast<unsigned>(positions * tiles), kThreads,
           kSearchBytes, stream, grad_tokens, op.grad_positions.as<float>(),
           op.visible.as<int32_t>(), op.masked.as<int32_t>(), layout, positions, tiles, dim,
           stride);
  }
}

// Elements of a row in 16 bytes, or 1 where some row is not aligned to them.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

}  // namespace

void tokens_forward_cuda(const TokensForward& op, DeviceQueue& queue) {
  const bool wide = aligned_rows({op.tokens, op.registers, op.patches, op.mask_token, op.positions},
                                 kVector<bf16>);
  const MatrixView& parameter = op.registers    ? op.registers
                                : op.mask_token ? op.mask_token
                                                : op.positions;
  if (op.tokens.dtype == Dtype::kF32) {
    return wide ? forward<kVector<float>, float, float>(op, queue.handle())
                : forward<1, float, float>(op, queue.handle());
  }
  if (parameter.dtype == Dtype::kBF16) {
    return wide ? forward<kVector<bf16>, bf16, bf16>(op, queue.handle())
                : forward<1, bf16, bf16>(op, queue.handle());
  }
  return wide ? forward<kVector<bf16>, bf16, float>(op, queue.handle())
              : forward<1, bf16, float>(op, queue.handle());
}

void tokens_backward_cuda(const TokensBackward& op, DeviceQueue& queue) {
  const bool wide = aligned_rows(
      {op.grad_tokens, op.grad_registers, op.grad_patches, op.grad_mask_token, op.grad_positions},
      kVector<bf16>);
  if (op.grad_tokens.dtype == Dtype::kF32) {
    return wide ? backward<kVector<float>, float>(op, queue) : backward<1, float>(op, queue);
  }
  return wide ? backward<kVector<bf16>, bf16>(op, queue) : backward<1, bf16>(op, queue);
}

}  // namespace capi
