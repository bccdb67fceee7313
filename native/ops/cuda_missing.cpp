// The ops that have no CUDA kernel yet, in a library built with CUDA.
#include "core/error.h"
#include "ops/clustering/health.h"
#include "ops/clustering/sinkhorn_knopp.h"
#include "ops/clustering/target_rows.h"
#include "ops/image/patchify.h"
#include "ops/loss/soft_cross_entropy.h"
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

// ops/clustering
CAPI_WITHOUT_KERNEL(target_statistics_cuda, TargetStatistics)
CAPI_WITHOUT_KERNEL(positional_collapse_cuda, PositionalCollapse)
CAPI_WITHOUT_KERNEL(sinkhorn_column_max_cuda, SinkhornColumnMax)
CAPI_WITHOUT_KERNEL(sinkhorn_column_sums_cuda, SinkhornColumnSums)
CAPI_WITHOUT_KERNEL(sinkhorn_update_columns_cuda, SinkhornUpdateColumns)
CAPI_WITHOUT_KERNEL(clustering_loss_cuda, ClusteringLoss)
CAPI_WITHOUT_KERNEL(sinkhorn_knopp_loss_cuda, SinkhornKnoppLoss)
CAPI_WITHOUT_KERNEL(target_rows_cuda, TargetRows)

// ops/image
CAPI_WITHOUT_KERNEL(patchify_cuda, Patchify)

// ops/loss
CAPI_WITHOUT_KERNEL(soft_cross_entropy_cuda, SoftCrossEntropy)

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
