#include "ops/image/permute_index.h"

#include <cmath>
#include <string>

#include "core/expect.h"
#include "core/philox.h"

namespace capi {
namespace {

// A Feistel network over pairs (left < rows, right < cols): each round adds to one half a function
// of the other, modulo the half's size, so that every round is a bijection.
class Order {
 public:
  explicit Order(const PermuteIndex& op)
      : seed_(op.seed),
        epoch_(op.epoch),
        rows_(static_cast<uint64_t>(std::ceil(std::sqrt(static_cast<double>(op.count))))),
        cols_((op.count + rows_ - 1) / rows_) {}

  uint64_t shuffled(uint64_t cell) const {
    uint64_t left = cell / cols_, right = cell % cols_;
    for (uint32_t round = 0; round < kRounds; round += 2) {
      left = (left + bits(right, round) % rows_) % rows_;
      right = (right + bits(left, round + 1) % cols_) % cols_;
    }
    return left * cols_ + right;
  }

 private:
  static constexpr uint32_t kRounds = 8;

  uint64_t bits(uint64_t half, uint32_t round) const {
    const Philox4 x =
        philox(seed_, static_cast<uint32_t>(RandomStream::kShuffle), epoch_ << 32 | half, round);
    return uint64_t{x.word[0]} << 32 | x.word[1];
  }

  uint64_t seed_, epoch_, rows_, cols_;
};

}  // namespace

uint64_t permute_index(const PermuteIndex& op) {
  const Expect expect("permute_index");
  expect.that(op.count >= 1 && op.count <= uint64_t{1} << 52, "count in [1, 2^52]",
              std::to_string(op.count));
  expect.that(op.index < op.count, "index in [0, " + std::to_string(op.count) + ")",
              std::to_string(op.index));
  expect.that(op.epoch < uint64_t{1} << 32, "epoch in [0, 2^32)", std::to_string(op.epoch));
  const Order order(op);
  // rows * cols exceeds count by less than one row: a cell outside [0, count) walks on along its
  // cycle until it is inside, which keeps the map a bijection.
  uint64_t cell = order.shuffled(op.index);
  while (cell >= op.count) cell = order.shuffled(cell);
  return cell;
}

}  // namespace capi
