// The ops that have no CUDA kernel yet, in a library built with CUDA.
#include "core/error.h"
#include "ops/image/patchify.h"
#include "ops/patches/coordinates.h"
#include "ops/patches/gather.h"
#include "ops/patches/masks.h"
#include "ops/patches/tokens.h"
#include "ops/residual/drop_path.h"
#include "ops/residual/residual.h"

#define CAPI_WITHOUT_KERNEL(kernel, Op) \
  void kernel(const Op&, DeviceQueue&) { unavailable(#kernel); }

namespace capi {

namespace {

[[noreturn]] void unavailable(const char* kernel) {
  throw Error(ErrorCode::kBackendUnavailable,
              std::string("[") + kernel + "] Expected CPU tensors: this op has no CUDA kernel yet");
}

}  // namespace

// ops/image
CAPI_WITHOUT_KERNEL(patchify_cuda, Patchify)

// ops/patches
CAPI_WITHOUT_KERNEL(coordinates_cuda, Coordinates)
CAPI_WITHOUT_KERNEL(gather_rows_cuda, GatherRows)
CAPI_WITHOUT_KERNEL(generate_masks_cuda, GenerateMasks)
CAPI_WITHOUT_KERNEL(tokens_forward_cuda, TokensForward)
CAPI_WITHOUT_KERNEL(tokens_backward_cuda, TokensBackward)

// ops/residual
CAPI_WITHOUT_KERNEL(drop_path_indices_cuda, DropPathIndices)
CAPI_WITHOUT_KERNEL(residual_forward_cuda, ResidualForward)
CAPI_WITHOUT_KERNEL(residual_gather_cuda, ResidualGather)

}  // namespace capi
