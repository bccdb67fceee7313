// Which instruction set the CPU kernels use, chosen once at run time.
//
// Every native/ops/**/*_cpu.cpp is compiled three times (CMakeLists.txt), each time inside
// namespace capi::CAPI_ISA = avx2 | avx512 | avx512_bf16. Those files include only plain-data
// headers, core/simd.h and core/thread_pool.h, so that no inline function of the standard library
// is ever emitted with instructions that the machine may lack.
#pragma once

namespace capi {

enum class CpuIsa : unsigned char { kAvx2, kAvx512, kAvx512Bf16 };

// The best set this machine has, or a lower one named by CAPI_CPU_ISA.
// Throws kBackendUnavailable when there is no AVX2 or the name is unknown or not available.
CpuIsa cpu_isa();
const char* cpu_isa_name(CpuIsa isa);

}  // namespace capi

// Declares the three builds of a kernel and `kernel(op)`, which calls the one for this machine.
#define CAPI_CPU_KERNEL(kernel, Op)     \
  namespace avx2 {                      \
  void kernel(const Op& op);            \
  }                                     \
  namespace avx512 {                    \
  void kernel(const Op& op);            \
  }                                     \
  namespace avx512_bf16 {               \
  void kernel(const Op& op);            \
  }                                     \
  inline void kernel(const Op& op) {    \
    switch (cpu_isa()) {                \
      case CpuIsa::kAvx2:               \
        return avx2::kernel(op);        \
      case CpuIsa::kAvx512:             \
        return avx512::kernel(op);      \
      case CpuIsa::kAvx512Bf16:         \
        return avx512_bf16::kernel(op); \
    }                                   \
  }
