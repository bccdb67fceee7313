#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/patches/mask_draw.h"

namespace capi {

namespace {

// One warp a block: a batch of 512 then spreads over 16 multiprocessors.
constexpr int kThreads = 32;

// One thread an image: its draws follow from each other, and the numbers must be the CPU's. A grid
// of 16 x 16 takes some 170 draws, microseconds a step.
__global__ void generate_masks_kernel(const uint32_t* __restrict__ samples,  // (images, 2)
                                      int32_t* __restrict__ visible,         // (images, n_visible)
                                      int32_t* __restrict__ masked,   // (images, n_masked) or null
                                      int32_t* __restrict__ predict,  // (images, n_predict) or null
                                      MaskDraw draw, int64_t images) {
  const int64_t image = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (image >= images) return;
  const int64_t patches = draw.grid_rows * draw.grid_cols;
  MaskLists lists = {};
  if (visible != nullptr) lists.visible = visible + image * (patches - draw.n_masked);
  if (masked != nullptr) lists.masked = masked + image * draw.n_masked;
  if (predict != nullptr) lists.predict = predict + image * draw.n_predict;
  const uint64_t sample = uint64_t{samples[2 * image + 1]} << 32 | samples[2 * image];
  draw_mask(draw, sample, image * patches, lists);
}

}  // namespace

void generate_masks_cuda(const GenerateMasks& op, DeviceQueue& queue) {
  const MaskDraw draw = mask_draw(op);
  const int64_t images = op.samples.rows;
  void* masked = nullptr;
  if (draw.n_predict > 0) {
    masked = queue.scratch(static_cast<size_t>(images * op.n_masked) * sizeof(int32_t));
  }
  launch(generate_masks_kernel, blocks_for(images, kThreads), kThreads, 0, queue.handle(),
         op.samples.as<uint32_t>(), op.visible.as<int32_t>(), static_cast<int32_t*>(masked),
         op.predict.as<int32_t>(), draw, images);
}

}  // namespace capi
