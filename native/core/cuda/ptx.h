// The instructions that have no C++ spelling: tensor cores, matrix loads, asynchronous copies, and
// bf16 conversion. Fragment layouts are those of the PTX manual, section "Matrix fragments for
// mma.m16n8k16": with g = lane / 4 and t = lane % 4,
//
//   A [16, 16], by rows   a[0]: (g, 2t)      a[1]: (g + 8, 2t)
//                         a[2]: (g, 2t + 8)  a[3]: (g + 8, 2t + 8)
//   B [16, 8]             b[0]: (2t, g)      b[1]: (2t + 8, g)
//   C [16, 8]             c[0]: (g, 2t)      c[1]: (g, 2t + 1)
//                         c[2]: (g + 8, 2t)  c[3]: (g + 8, 2t + 1)
//
// where a 32-bit register of A or B holds two bf16, the named element and the next one along k (the
// lower half first). Tests run the same kernels on another ptx.h, which executes them on the CPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace capi {

// The block's shared memory: all of it is dynamic, its size given at launch, 16-byte aligned.
template <typename T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char capi_shared_memory[];
  return reinterpret_cast<T*>(capi_shared_memory);
}

// 16 (8) bytes in one access; the address is a multiple of as many.
template <typename Vector>
__device__ __forceinline__ Vector load_16(const void* from) {
  return *static_cast<const Vector*>(from);
}
template <typename Vector>
__device__ __forceinline__ void store_16(void* to, Vector value) {
  *static_cast<Vector*>(to) = value;
}
__device__ __forceinline__ uint2 load_8(const void* from) {
  return *static_cast<const uint2*>(from);
}
__device__ __forceinline__ void store_8(void* to, uint2 value) { *static_cast<uint2*>(to) = value; }

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// Starts copying 16 bytes to shared memory; both addresses are 16-byte aligned. Without `valid` the
// source is not read and zeros are written.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
// Closes a group of copies of this thread.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;"); }
// Waits until at most kPending of this thread's groups are under way. Other threads see the bytes
// after a barrier.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Loads four (two) 8 x 8 matrices of 16-bit elements. Lane 8 i + r names row r of matrix i, 16-byte
// aligned; register i of lane 4 r + c gets elements (r, 2c) and (r, 2c + 1) of matrix i, of its
// transpose in the _trans forms. Every lane of the warp takes part.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b on the tensor cores: bf16 operands, f32 sums.
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ float to_float(bf16 value) {
  return __uint_as_float(uint32_t{value.bits} << 16);
}
__device__ __forceinline__ float to_float(float value) { return value; }

// Two bf16 in one register, rounded to nearest even; `low` comes first in memory.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// 2^x to 2 ulp, one instruction; results below 2^-126 are zero.
__device__ __forceinline__ float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace capi
