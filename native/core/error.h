// The one exception type of the native code; the addon turns it into a JavaScript CapiError.
#pragma once

#include <stdexcept>
#include <string>

#include "core/matrix_view.h"

namespace capi {

enum class ErrorCode {
  kShapeMismatch,
  kDtypeMismatch,
  kDeviceMismatch,
  kInvalidArgument,
  kDisposed,
  kOutOfMemory,
  kBackendUnavailable,
  kCuda,
  kInternal,
};

// "ERR_CAPI_SHAPE_MISMATCH" and so on: the names in lib/native/errors.ts.
const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// The exception being handled, as an Error: for threads that have no caller to throw to.
Error current_error() noexcept;

}  // namespace capi
