#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/device_queue.h"
#include "ops/image/patchify.h"

namespace capi {

namespace {

constexpr int kThreads = 256;
constexpr int kValues = 256;  // of a pixel
constexpr int kAccess = 16;   // bytes
// Longer strips are read from global memory, byte by byte: patches of 14 reach it at a width of
// 1560. Two blocks fit on a multiprocessor of an A100.
constexpr int64_t kMostStaged = 64 * 1024;

__device__ void store(float* to, float value) { *to = value; }
__device__ void store(bf16* to, float value) {
  to->bits = static_cast<uint16_t>(pack_bf16(value, 0.0f));
}

// The strip of `length` bytes, to the same offset from a 16-byte boundary in shared memory.
__device__ const uint8_t* stage(const uint8_t* strip, int length, unsigned char* shared) {
  const int offset = static_cast<int>(reinterpret_cast<uintptr_t>(strip) % kAccess);
  const int head = offset == 0 ? 0 : kAccess - offset;
  unsigned char* const to = shared + offset;
  const int accesses = length > head ? (length - head) / kAccess : 0;
  for (int i = threadIdx.x; i < accesses; i += kThreads) {
    store_16(to + head + i * kAccess, load_16<uint4>(strip + head + i * kAccess));
  }
  const int tail = head + accesses * kAccess;
  for (int i = threadIdx.x; i < length; i += kThreads) {
    if (i < head || i >= tail) to[i] = strip[i];
  }
  return to;
}

// A block a strip: the `patch` rows of pixels under one row of patches. The strip is contiguous in
// images, and so is what it becomes, in another order, in out: at 224 with patches of 14 9.4 KB are
// read and 18.8 KB of bf16 written, both in accesses of 16 bytes; the bytes change places in shared
// memory. Of a pixel's 256 values each is normalised once, in a table a channel.
template <typename T, typename Index, bool kStaged>
__global__ void patchify_kernel(const uint8_t* __restrict__ images,  // (count, height, width, 3)
                                const uint8_t* __restrict__ flips,   // (count) or null
                                T* __restrict__ out,                 // (strips, length)
                                Index patch, Index width, int64_t down) {
  constexpr int kVec = kAccess / static_cast<int>(sizeof(T));
  T* const table = shared_memory<T>();  // [3][kValues]
  for (int i = threadIdx.x; i < 3 * kValues; i += kThreads) {
    store(table + i, normalized(i % kValues, i / kValues));
  }
  const Index length = patch * width * 3, area = patch * patch;
  const uint8_t* pixels = images + blockIdx.x * int64_t{length};
  out += blockIdx.x * int64_t{length};
  if (kStaged) {
    pixels = stage(pixels, static_cast<int>(length),
                   reinterpret_cast<unsigned char*>(table + 3 * kValues));
  }
  __syncthreads();
  const bool flip = flips != nullptr && flips[blockIdx.x / down] != 0;

  // Elements up to a 16-byte boundary, whole accesses from there, and the rest.
  const Index misaligned =
      static_cast<Index>(reinterpret_cast<uintptr_t>(out) % kAccess / sizeof(T));
  const Index pieces = (misaligned + length + kVec - 1) / kVec;
  for (Index piece = threadIdx.x; piece < pieces; piece += kThreads) {
    const Index from = piece * kVec < misaligned ? 0 : piece * kVec - misaligned;
    const Index until = piece * kVec + kVec - misaligned;
    const Index end = until < length ? until : length;
    Index x = from % patch, y = from % area / patch;
    Index channel = from / area % 3, column = from / (3 * area) * patch;
    const auto next = [&] {
      const Index at = flip ? width - 1 - column - x : column + x;
      const T value = table[channel * kValues + pixels[(y * width + at) * 3 + channel]];
      if (++x == patch) x = 0, ++y;
      if (y == patch) y = 0, ++channel;
      if (channel == 3) channel = 0, column += patch;
      return value;
    };
    if (end - from == kVec) {
      alignas(kAccess) T values[kVec];
#pragma unroll
      for (int j = 0; j < kVec; ++j) values[j] = next();
      store_16(out + from, *reinterpret_cast<const uint4*>(values));
    } else {
      for (Index i = from; i < end; ++i) out[i] = next();
    }
  }
}

template <typename T>
void patchify(const Patchify& op, cudaStream_t stream) {
  const int64_t down = op.height / op.patch, length = op.patch * op.width * 3;
  const unsigned strips = static_cast<unsigned>(op.images.rows * down);
  const size_t table = 3 * kValues * sizeof(T);
  if (length <= kMostStaged) {
    const size_t staged = static_cast<size_t>(length + kAccess);
    launch(patchify_kernel<T, int, true>, strips, kThreads, table + staged, stream,
           op.images.as<uint8_t>(), op.flips.as<uint8_t>(), op.out.as<T>(), op.patch, op.width,
           down);
  } else {
    launch(patchify_kernel<T, int64_t, false>, strips, kThreads, table, stream,
           op.images.as<uint8_t>(), op.flips.as<uint8_t>(), op.out.as<T>(), op.patch, op.width,
           down);
  }
}

}  // namespace

void patchify_cuda(const Patchify& op, DeviceQueue& queue) {
  if (op.out.dtype == Dtype::kBF16) {
    patchify<bf16>(op, queue.handle());
  } else {
    patchify<float>(op, queue.handle());
  }
}

}  // namespace capi
