#include "ops/patches/coordinates.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

CoordinatesLayout coordinates_layout(const Coordinates& op) {
  const int64_t patches = op.grid_rows * op.grid_cols;
  if (!op.indices) return {op.out.rows / (op.registers + patches), patches};
  if (op.registers == 0) return {1, op.indices.cols};
  const int64_t images = (op.out.rows - op.indices.cols) / op.registers;
  return {images, op.indices.cols / images};
}

void coordinates(const Coordinates& op, Stream* stream) {
  const Expect expect("coordinates");
  expect.that(op.grid_rows > 0 && op.grid_cols > 0 && op.grid_rows < 32768 && op.grid_cols < 32768,
              "a grid of 1 to 32767 patches a side",
              std::to_string(op.grid_rows) + " x " + std::to_string(op.grid_cols));
  expect.that(op.registers >= 0 && op.registers < (int64_t{1} << 31), "registers in [0, 2^31)",
              std::to_string(op.registers));
  if (op.register_kind == RegisterKind::kEdge) {
    expect.that(op.registers % 4 == 0, "edge registers in a multiple of 4",
                std::to_string(op.registers));
  }
  expect.matrix("out", op.out, op.out.rows, 2, Dtype::kF32);
  expect.contiguous("out", op.out);
  const int64_t patches = op.grid_rows * op.grid_cols;
  if (op.indices) {
    expect.matrix("indices", op.indices, 1, op.indices.cols, Dtype::kI32);
    const int64_t register_rows = op.out.rows - op.indices.cols;
    const bool whole = op.registers == 0
                           ? register_rows == 0
                           : register_rows > 0 && register_rows % op.registers == 0 &&
                                 op.indices.cols % (register_rows / op.registers) == 0;
    expect.that(whole,
                "out of B*(" + std::to_string(op.registers) +
                    "+n) rows for indices of B*n = " + std::to_string(op.indices.cols),
                shape_text(op.out), ErrorCode::kShapeMismatch);
  } else {
    expect.that(op.out.rows % (op.registers + patches) == 0,
                "out of B*" + std::to_string(op.registers + patches) + " rows", shape_text(op.out),
                ErrorCode::kShapeMismatch);
  }
  expect.same_backend({op.out, op.indices});
  switch (op.out.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { coordinates_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { coordinates_cuda(op, stream->device()); });
  }
}

}  // namespace capi
