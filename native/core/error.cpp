#include "core/error.h"

#include <new>

namespace capi {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kShapeMismatch:
      return "ERR_CAPI_SHAPE_MISMATCH";
    case ErrorCode::kDtypeMismatch:
      return "ERR_CAPI_DTYPE_MISMATCH";
    case ErrorCode::kDeviceMismatch:
      return "ERR_CAPI_DEVICE_MISMATCH";
    case ErrorCode::kInvalidArgument:
      return "ERR_CAPI_INVALID_ARGUMENT";
    case ErrorCode::kDisposed:
      return "ERR_CAPI_DISPOSED";
    case ErrorCode::kOutOfMemory:
      return "ERR_CAPI_OUT_OF_MEMORY";
    case ErrorCode::kBackendUnavailable:
      return "ERR_CAPI_BACKEND_UNAVAILABLE";
    case ErrorCode::kCuda:
      return "ERR_CAPI_CUDA";
    case ErrorCode::kInternal:
      break;
  }
  return "ERR_CAPI_INTERNAL";
}

Error current_error() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "Expected memory but the system refused");
  } catch (const std::exception& error) {
    return Error(ErrorCode::kInternal, error.what());
  } catch (...) {
    return Error(ErrorCode::kInternal, "An unknown exception");
  }
}

}  // namespace capi
