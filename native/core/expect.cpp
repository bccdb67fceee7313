#include "core/expect.h"

namespace capi {

namespace {

std::string text(int64_t rows, int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

}  // namespace

std::string shape_text(const MatrixView& m) { return text(m.rows, m.cols); }

void Expect::that(bool condition, const std::string& expected, const std::string& received,
                  ErrorCode code) const {
  if (condition) return;
  throw Error(code,
              std::string("[") + op_ + "] Expected " + expected + " but received " + received);
}

void Expect::present(const char* name, const MatrixView& m) const {
  that(m.data != nullptr, name, "nothing");
}

void Expect::shape(const char* name, const MatrixView& m, int64_t rows, int64_t cols) const {
  that(m.rows == rows && m.cols == cols, std::string(name) + " of shape " + text(rows, cols),
       shape_text(m), ErrorCode::kShapeMismatch);
}

void Expect::dtype(const char* name, const MatrixView& m, Dtype dtype) const {
  that(m.dtype == dtype, std::string(name) + " of dtype " + dtype_name(dtype), dtype_name(m.dtype),
       ErrorCode::kDtypeMismatch);
}

void Expect::floating(const char* name, const MatrixView& m) const {
  that(m.dtype == Dtype::kF32 || m.dtype == Dtype::kBF16,
       std::string(name) + " of dtype f32 or bf16", dtype_name(m.dtype), ErrorCode::kDtypeMismatch);
  that(m.cols > 0, std::string(name) + " with at least one column", shape_text(m),
       ErrorCode::kShapeMismatch);
}

void Expect::contiguous(const char* name, const MatrixView& m) const {
  that(m.contiguous(), std::string("contiguous ") + name,
       shape_text(m) + " with row stride " + std::to_string(m.stride), ErrorCode::kShapeMismatch);
}

void Expect::matrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols,
                    Dtype expected) const {
  present(name, m);
  shape(name, m, rows, cols);
  dtype(name, m, expected);
}

void Expect::row_map(const char* name, const RowMap& map, int64_t rows,
                     const MatrixView& source) const {
  const std::string source_name(name);
  if (map.rows == 0) {
    that(source.rows == rows, source_name + " of " + std::to_string(rows) + " rows",
         shape_text(source), ErrorCode::kShapeMismatch);
    return;
  }
  that(map.rows > 0 && rows % map.rows == 0 && map.source_offset >= 0 &&
           map.source_offset + map.rows <= map.source_rows && source.rows % map.source_rows == 0,
       "a row map that fits " + source_name,
       std::to_string(map.rows) + " rows an image of " + std::to_string(map.source_rows) +
           " from " + std::to_string(map.source_offset) + " of " + shape_text(source),
       ErrorCode::kShapeMismatch);
  const int64_t images = rows / map.rows;
  if (map.images) {
    matrix("images", map.images, 1, images, Dtype::kI32);
    that(images <= source.rows / map.source_rows, "no more images than " + source_name + " has",
         std::to_string(images), ErrorCode::kShapeMismatch);
  } else {
    that(images * map.source_rows == source.rows,
         source_name + " of " + std::to_string(images * map.source_rows) + " rows",
         shape_text(source), ErrorCode::kShapeMismatch);
  }
}

void Expect::same_backend(std::initializer_list<MatrixView> views) const {
  const MatrixView* first = nullptr;
  for (const MatrixView& view : views) {
    if (view.data == nullptr) continue;
    if (first == nullptr) first = &view;
    that(view.backend == first->backend, "every tensor on one device", "tensors of two devices",
         ErrorCode::kDeviceMismatch);
  }
}

}  // namespace capi
