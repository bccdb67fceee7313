#include "ops/tensor/fill_random.h"

#include <math.h>

#include "core/philox.h"
#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskElements = 1 << 14;  // a multiple of 4: one Philox call makes four elements

// Odd multiples of 2^-23 in (-1, 1): exact in f32 and symmetric.
void uniform_four(const Philox4& random, float scale, float* out) {
  for (int i = 0; i < 4; ++i) {
    const float unit = (static_cast<float>(random.word[i] >> 9) + 0.5f) * 0x1p-22f - 1.0f;
    out[i] = unit * scale;
  }
}

void normal_four(const Philox4& random, float scale, float* out) {
  for (int i = 0; i < 4; i += 2) {
    const double radius = sqrt(-2.0 * log((random.word[i] + 0.5) * 0x1p-32));
    const double angle = random.word[i + 1] * (0x1p-31 * 3.14159265358979323846);
    out[i] = static_cast<float>(radius * cos(angle)) * scale;
    out[i + 1] = static_cast<float>(radius * sin(angle)) * scale;
  }
}

template <typename T>
void fill(const FillRandom& op) {
  const int64_t size = op.x.size();
  parallel_for((size + kTaskElements - 1) / kTaskElements, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElements;
    const int64_t end = begin + kTaskElements < size ? begin + kTaskElements : size;
    for (int64_t i = begin; i < end; i += 4) {
      const Philox4 random = philox(op.seed, static_cast<uint32_t>(RandomStream::kInit),
                                    static_cast<uint64_t>(i / 4), static_cast<uint32_t>(op.stream));
      float four[4];
      if (op.distribution == Distribution::kUniform) {
        uniform_four(random, op.scale, four);
      } else {
        normal_four(random, op.scale, four);
      }
      for (int64_t j = 0; j < 4 && i + j < end; ++j) set(op.x.as<T>() + i + j, four[j]);
    }
  });
}

}  // namespace

void fill_random_cpu(const FillRandom& op) {
  with_floating(op.x.dtype, [&](auto type) { fill<decltype(type)>(op); });
}

}  // namespace capi::CAPI_ISA
