#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/patches/coordinates.h"
#include "ops/patches/coordinates_points.h"

namespace capi {

namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;

// One thread a patch of the batch: 8 bytes written.
__global__ void patch_coordinates_kernel(const int32_t* __restrict__ indices,  // (images * n)
                                                                               // or null: all
                                         float* __restrict__ out,  // (images * (registers + n), 2)
                                         int64_t grid_rows, int64_t grid_cols, int64_t registers,
                                         int64_t n, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t patch = (indices != nullptr ? indices[i] : i) % (grid_rows * grid_cols);
  const Point at = patch_point(patch, grid_rows, grid_cols);
  out += 2 * (i + (i / n + 1) * registers);
  out[0] = at.row;
  out[1] = at.col;
}

// One warp an image: reads the coordinates of its patches for their box, writes its registers.
__global__ void register_coordinates_kernel(float* out,  // (images * (registers + n), 2)
                                            int64_t registers, int64_t n, int64_t images, bool edge,
                                            bool scale) {
  const int lane = threadIdx.x;
  const int64_t image = int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (image >= images) return;
  out += 2 * image * (registers + n);
  Point low = {0, 0}, high = {1, 1};
  if (scale && n > 0) {
    low = {1, 1}, high = {0, 0};
    for (int64_t i = registers + lane; i < registers + n; i += kWarpSize) {
      low = {fminf(low.row, out[2 * i]), fminf(low.col, out[2 * i + 1])};
      high = {fmaxf(high.row, out[2 * i]), fmaxf(high.col, out[2 * i + 1])};
    }
    low = {-warp_max(-low.row), -warp_max(-low.col)};
    high = {warp_max(high.row), warp_max(high.col)};
  }
  for (int64_t i = lane; i < registers; i += kWarpSize) {
    const Point at = edge ? edge_point(i, registers) : Point{0, 0};
    out[2 * i] = low.row + at.row * (high.row - low.row);
    out[2 * i + 1] = low.col + at.col * (high.col - low.col);
  }
}

}  // namespace

void coordinates_cuda(const Coordinates& op, DeviceQueue& queue) {
  const CoordinatesLayout layout = coordinates_layout(op);
  const int64_t count = layout.images * layout.patches;
  float* const out = op.out.as<float>();
  launch(patch_coordinates_kernel, blocks_for(count, kThreads), kThreads, 0, queue.handle(),
         op.indices.as<int32_t>(), out, op.grid_rows, op.grid_cols, op.registers, layout.patches,
         count);
  if (op.registers == 0) return;
  launch(register_coordinates_kernel, blocks_for(layout.images, kWarps), dim3(kWarpSize, kWarps), 0,
         queue.handle(), out, op.registers, layout.patches, layout.images,
         op.register_kind == RegisterKind::kEdge, op.scale_to_visible);
}

}  // namespace capi
