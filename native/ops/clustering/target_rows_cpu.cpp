#include "ops/clustering/target_rows.h"

#include <cstring>

namespace capi {

// A few thousand integers: one thread.
void target_rows_cpu(const TargetRows& op) {
  int32_t* rows = op.target_rows.as<int32_t>();
  const int32_t* predict = op.predict.as<int32_t>();
  const int64_t count = op.images * op.positions;
  std::memset(rows, 0xFF, static_cast<size_t>(count) * sizeof(int32_t));  // -1
  for (int64_t i = 0; i < op.predict.cols; ++i) {
    const int64_t patch = predict[i];
    if (patch < 0 || patch >= count) continue;
    const int64_t image = patch / op.positions, position = patch % op.positions;
    rows[position * op.images + image] = static_cast<int32_t>(i);
  }
}

}  // namespace capi
