// Kernels with one mistake each, and right ones, to test the interpreter itself: prints a line for
// each, "name: " and what was found, "nothing" when that is nothing.
#include <cstdio>
#include <string>
#include <vector>

#include "core/cuda/block.h"

namespace capi {

namespace {

// Data of the kernels: n floats, and n results.
struct Buffers {
  float* in;
  float* out;
  int n;
};

__global__ void right(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  tile[i] = b.in[i];
  __syncthreads();
  b.out[i] = tile[b.n - 1 - i];
}

__global__ void right_async(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  if (4 * i < b.n) cp_async_16(tile + 4 * i, b.in + 4 * i);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  b.out[i] = tile[b.n - 1 - i];
}

__global__ void right_in_a_warp(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  for (int round = 0; round < 2; ++round) {
    tile[i] = b.in[i] + static_cast<float>(round);
    __syncwarp();
    b.out[i] = tile[i ^ 1];
    __syncwarp();
  }
}

__global__ void one_past_the_end(Buffers b) { b.out[threadIdx.x] = b.in[threadIdx.x + 1]; }

__global__ void before_the_beginning(Buffers b) {
  b.out[static_cast<int>(threadIdx.x) - 1] = b.in[threadIdx.x];
}

__global__ void beyond_shared_memory(Buffers b) {
  float* tile = shared_memory<float>();
  tile[threadIdx.x + 1] = b.in[threadIdx.x];
}

__global__ void missing_barrier(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  tile[i] = b.in[i];
  b.out[i] = tile[b.n - 1 - i];
}

// The thread that reads first runs before the one that writes, here; on a GPU it may not.
__global__ void write_after_read(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  tile[i] = b.in[i];
  __syncthreads();
  if (i + 1 < b.n) b.out[i] = tile[i + 1];
  tile[i] = 0.0f;
}

// A barrier of a warp orders nothing between two warps.
__global__ void barrier_of_a_warp_for_two(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  tile[i] = b.in[i];
  __syncwarp();
  b.out[i] = tile[b.n - 1 - i];
}

__global__ void never_written(Buffers b) {
  b.out[threadIdx.x] = shared_memory<float>()[threadIdx.x];
}

__global__ void copy_not_waited_for(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  if (4 * i < b.n) cp_async_16(tile + 4 * i, b.in + 4 * i);
  cp_async_commit();
  __syncthreads();
  b.out[i] = tile[i];
}

__global__ void copy_waited_for_without_barrier(Buffers b) {
  float* tile = shared_memory<float>();
  const int i = threadIdx.x;
  if (4 * i < b.n) cp_async_16(tile + 4 * i, b.in + 4 * i);
  cp_async_commit();
  cp_async_wait<0>();
  b.out[i] = tile[i];
}

__global__ void copy_never_waited_for(Buffers b) {
  if (threadIdx.x == 0) cp_async_16(shared_memory<float>(), b.in);
}

__global__ void misaligned(Buffers b) {
  float four[4];
  load_floats(four, b.in + 1);
  b.out[threadIdx.x] = four[0];
}

__global__ void barrier_that_one_misses(Buffers b) {
  if (threadIdx.x == 3) __syncwarp();
  __syncthreads();
  b.out[threadIdx.x] = 0.0f;
}

__global__ void shuffle_with_a_lane_gone(Buffers b) {
  if (threadIdx.x == 5) return;
  b.out[threadIdx.x] = warp_sum(b.in[threadIdx.x]);
}

__global__ void host_memory(Buffers b, const float* host) {
  b.out[threadIdx.x] = host[threadIdx.x];
}

template <typename... Params>
void show(const char* name, void (*kernel)(Params...), Params... arguments) {
  const interpreter::Call<Params...> call = {kernel, {arguments...}};
  const std::string found = interpreter::run(dim3(2), dim3(64), 64 * sizeof(float), call);
  std::printf("%s: %s\n", name, found.empty() ? "nothing" : found.c_str());
}

}  // namespace

}  // namespace capi

#define SHOW(kernel, ...) capi::show(#kernel, capi::kernel, __VA_ARGS__)

int main() {
  const int n = 64;
  auto* in = static_cast<float*>(capi::interpreter::allocate(n * sizeof(float)));
  auto* out = static_cast<float*>(capi::interpreter::allocate(n * sizeof(float)));
  const capi::Buffers b = {in, out, n};
  const std::vector<float> host(n);
  SHOW(right, b);
  SHOW(right_async, b);
  SHOW(right_in_a_warp, b);
  SHOW(one_past_the_end, b);
  SHOW(before_the_beginning, b);
  SHOW(beyond_shared_memory, b);
  SHOW(missing_barrier, b);
  SHOW(write_after_read, b);
  SHOW(barrier_of_a_warp_for_two, b);
  SHOW(never_written, b);
  SHOW(copy_not_waited_for, b);
  SHOW(copy_waited_for_without_barrier, b);
  SHOW(copy_never_waited_for, b);
  SHOW(misaligned, b);
  SHOW(barrier_that_one_misses, b);
  SHOW(shuffle_with_a_lane_gone, b);
  SHOW(host_memory, b, static_cast<const float*>(host.data()));
}
