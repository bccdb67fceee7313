// Element types of tensors, and bf16 as a plain 16-bit pattern (upper half of an f32).
#pragma once

#include <cstddef>
#include <cstdint>

namespace capi {

enum class Dtype : uint8_t { kF32, kBF16, kF64, kI32, kU8 };

struct bf16 {
  uint16_t bits;
};

constexpr size_t dtype_size(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
      return 8;
    case Dtype::kF32:
    case Dtype::kI32:
      return 4;
    case Dtype::kBF16:
      return 2;
    case Dtype::kU8:
      return 1;
  }
  return 0;
}

constexpr const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64:
      return "f64";
    case Dtype::kF32:
      return "f32";
    case Dtype::kI32:
      return "i32";
    case Dtype::kBF16:
      return "bf16";
    case Dtype::kU8:
      return "u8";
  }
  return "?";
}

}  // namespace capi
