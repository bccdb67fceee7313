// Checks for the front doors of ops. Messages: "[rms_norm] Expected y of shape [4, 8] but received
// [4, 7]".
#pragma once

#include <initializer_list>

#include "core/error.h"
#include "core/row_map.h"

namespace capi {

class Expect {
 public:
  explicit Expect(const char* op) : op_(op) {}

  void shape(const char* name, const MatrixView& m, int64_t rows, int64_t cols) const;
  void dtype(const char* name, const MatrixView& m, Dtype dtype) const;
  // f32 or bf16, and at least one column: kernels divide by it.
  void floating(const char* name, const MatrixView& m) const;
  void present(const char* name, const MatrixView& m) const;
  void contiguous(const char* name, const MatrixView& m) const;
  // shape, dtype and presence in one call.
  void matrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols, Dtype dtype) const;
  // The map takes `rows` rows from `source`, all of which exist.
  void row_map(const char* name, const RowMap& map, int64_t rows, const MatrixView& source) const;
  // Every present view lives on the backend of the first.
  void same_backend(std::initializer_list<MatrixView> views) const;
  // condition must hold: "[op] Expected <expected> but received <received>".
  void that(bool condition, const std::string& expected, const std::string& received,
            ErrorCode code = ErrorCode::kInvalidArgument) const;

 private:
  const char* op_;
};

std::string shape_text(const MatrixView& m);

}  // namespace capi
