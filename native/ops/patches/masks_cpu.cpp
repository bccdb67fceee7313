// Scalar and compiled once: a mask costs about as much as its random numbers.
#include "core/thread_pool.h"
#include "ops/patches/mask_draw.h"

namespace capi {

void generate_masks_cpu(const GenerateMasks& op) {
  const int64_t images = op.samples.rows, patches = op.grid_rows * op.grid_cols;
  const int64_t n_visible = patches - op.n_masked;
  const MaskDraw draw = mask_draw(op);
  parallel_for(images, [&](int64_t image, int worker) {
    const uint32_t* sample = op.samples.as<uint32_t>() + 2 * image;
    MaskLists lists = {};
    if (n_visible > 0) lists.visible = op.visible.as<int32_t>() + image * n_visible;
    if (draw.n_predict > 0) {
      lists.masked = static_cast<int32_t*>(
          worker_scratch(worker, static_cast<size_t>(op.n_masked) * sizeof(int32_t)));
      lists.predict = op.predict.as<int32_t>() + image * draw.n_predict;
    }
    draw_mask(draw, (uint64_t{sample[1]} << 32) | sample[0], image * patches, lists);
  });
}

}  // namespace capi
