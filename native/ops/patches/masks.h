// Which patches of each image the student sees and which it predicts (METHOD.md, section 3).
//
//   samples  (B, 2)    i32: low and high word of each image's global sample number
//   visible  (1, B*V)  i32 into the flattened batch [0, B*N), ascending; V = N - n_masked;
//                      null when V = 0
//   predict  (1, B*P)  i32, the same: P of the masked patches of each image, without replacement,
//                      ascending; null: none
//
// uniform masks a random subset. block masks the first n_masked cells of a box of random aspect and
// place; inverse_block keeps such a box visible. With roll the box is shifted cyclically in both
// axes. The aspect (rows / cols) is log-uniform in [min_aspect, max_aspect], clipped so that the
// box fits the grid. A function of (seed, sample number) alone.
#pragma once

#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

enum class MaskKind : uint8_t { kUniform, kBlock, kInverseBlock };

struct GenerateMasks {
  MaskKind kind;
  bool roll;
  double min_aspect, max_aspect;
  int64_t grid_rows, grid_cols;
  int64_t n_masked;
  uint64_t seed;
  MatrixView samples;
  MatrixView visible, predict;
};

void generate_masks(const GenerateMasks& op, Stream* stream);

void generate_masks_cpu(const GenerateMasks& op);
void generate_masks_cuda(const GenerateMasks& op, DeviceQueue& queue);

}  // namespace capi
