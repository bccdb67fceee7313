// Random values as a function of (seed, stream, element number): the same for every thread count.
//
//   uniform   x ~ U(-scale, scale), ends excluded; the same bits on every instruction set
//   normal    x ~ N(0, scale^2), Box-Muller in f64
//
//   x        (rows, cols)   f32 | bf16, contiguous
//   stream   0 <= stream < 2^32, one for each tensor that a seed fills
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

enum class Distribution : uint8_t { kUniform, kNormal };

struct FillRandom {
  MatrixView x;
  Distribution distribution = Distribution::kUniform;
  float scale = 1.0f;
  uint64_t seed = 0;
  int64_t stream = 0;
};

void fill_random(const FillRandom& op, Stream* stream);

CAPI_CPU_KERNEL(fill_random_cpu, FillRandom)
void fill_random_cuda(const FillRandom& op, DeviceQueue& queue);

}  // namespace capi
