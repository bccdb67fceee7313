// Philox4x32-10 (Salmon et al., SC 2011): random numbers as a pure function of (seed, stream,
// counter), so that masks, crops, flips and drop-path do not depend on workers, ranks or history.
// constexpr: kernels on a device call it too.
#pragma once

#include <cstdint>

namespace capi {

struct Philox4 {
  uint32_t word[4];
};

// One word for each use of randomness: two uses never share numbers.
enum class RandomStream : uint32_t {
  kInit = 1,
  kShuffle = 2,
  kCrop = 3,
  kMask = 4,
  kDropPath = 5,
};

// block: which group of four words of this (seed, stream, counter).
static constexpr Philox4 philox(uint64_t seed, uint32_t stream, uint64_t counter, uint32_t block) {
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
  Philox4 x = {
      {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), stream, block}};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * x.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * x.word[2];
    x = {{static_cast<uint32_t>(b >> 32) ^ x.word[1] ^ key0, static_cast<uint32_t>(b),
          static_cast<uint32_t>(a >> 32) ^ x.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return x;
}

// Draws in sequence from one (seed, stream, counter).
struct PhiloxSequence {
  uint64_t seed;
  uint32_t stream;
  uint64_t counter;
  uint32_t block = 0;
  int used = 4;
  Philox4 words = {};

  constexpr uint32_t next() {
    if (used == 4) {
      words = philox(seed, stream, counter, block++);
      used = 0;
    }
    return words.word[used++];
  }
  // [0, 1) with 53 bits.
  constexpr double uniform() {
    const uint64_t high = next();
    const uint64_t bits = (high << 21) ^ (next() >> 11);
    return static_cast<double>(bits & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
  }
  // On the host only: compilers for a device may round this product and sum once.
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // [0, n): unbiased to 2^-32 relative for n < 2^32 by a 64-bit product.
  constexpr uint32_t below(uint32_t n) {
    const uint64_t high = uint64_t{next()} * n, low = uint64_t{next()} * n;
    return static_cast<uint32_t>((high + (low >> 32)) >> 32);
  }
};

// Calls take(i) for `needed` of the numbers [0, n), every subset equally likely, ascending: number
// i is taken with probability needed / (numbers left).
template <typename Take>
static constexpr void choose(PhiloxSequence& random, int64_t n, int64_t needed, const Take& take) {
  for (int64_t i = 0; needed > 0; ++i) {
    if (random.below(static_cast<uint32_t>(n - i)) < needed) {
      take(i);
      --needed;
    }
  }
}

}  // namespace capi
