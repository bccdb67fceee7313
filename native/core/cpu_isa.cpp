#include "core/cpu_isa.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"

namespace capi {

namespace {

// A build with CAPI_EMULATE_AVX512 runs the wide kernels' logic on AVX2 hardware (tests only).
#ifdef CAPI_EMULATE_AVX512
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

CpuIsa best() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    throw Error(ErrorCode::kBackendUnavailable,
                "[cpu] Expected a CPU with AVX2 and FMA, but this one lacks them");
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (kEmulated || (avx512 && __builtin_cpu_supports("avx512bf16"))) return CpuIsa::kAvx512Bf16;
  return avx512 ? CpuIsa::kAvx512 : CpuIsa::kAvx2;
}

CpuIsa choose() {
  const CpuIsa most = best();
  const char* asked = std::getenv("CAPI_CPU_ISA");
  if (asked == nullptr || *asked == '\0') return most;
  for (CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16}) {
    if (std::strcmp(asked, cpu_isa_name(isa)) == 0 && isa <= most) return isa;
  }
  throw Error(
      ErrorCode::kBackendUnavailable,
      std::string("[cpu] Expected CAPI_CPU_ISA to be avx2, avx512 or avx512_bf16 and at most ") +
          cpu_isa_name(most) + " on this machine, but received " + asked);
}

}  // namespace

CpuIsa cpu_isa() {
  static const CpuIsa chosen = choose();
  return chosen;
}

const char* cpu_isa_name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512";
    case CpuIsa::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "?";
}

}  // namespace capi
