#include "ops/loss/soft_cross_entropy.h"

#include "core/thread_pool.h"
#include "ops/loss/softmax_simd.h"

namespace capi::CAPI_ISA {

namespace {

// Enough work for a task at K = 1024, few enough rows that 1024 of them fill many threads.
constexpr int64_t kChunkRows = 8;

// exps: one row of scratch, padded to whole vectors.
template <typename T, typename A>
float one_row(const T* logits, const A* targets, int64_t columns, float inverse_temperature,
              float grad_scale, float* exps, T* grad) {
  Vec most_of = broadcast(-__builtin_inff());
  for_columns(columns, [&](int64_t k, auto span) {
    most_of = vmax(fill_beyond(load(logits + k, span), span, -__builtin_inff()), most_of);
  });
  const Vec most = broadcast(max_lane(most_of));

  Vec exp_sum = zero(), dot_sum = zero(), mass_sum = zero();
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec z = (load(logits + k, span) - most) * inverse_temperature;
    const Vec p = fill_beyond(exp_nonpositive(z, kExpScale), span, 0.0f);
    const Vec a = load(targets + k, span);
    store(exps + k, p);
    exp_sum += p;
    mass_sum += a;
    dot_sum += a * z;
  });
  const float normaliser = sum(exp_sum), mass = sum(mass_sum);
  if (grad != nullptr) {
    const float softmax_scale = mass / normaliser * grad_scale;
    for_columns(columns, [&](int64_t k, auto span) {
      store(grad + k, load(exps + k) * softmax_scale - load(targets + k, span) * grad_scale, span);
    });
  }
  return logf(normaliser) * mass - sum(dot_sum);
}

template <typename T, typename A>
void all_rows(const SoftCrossEntropy& op, double* losses) {
  const int64_t rows = op.logits.rows, columns = op.logits.cols;
  const float inverse_temperature = static_cast<float>(1.0 / op.temperature);
  const float grad_scale = static_cast<float>(1.0 / (op.temperature * static_cast<double>(rows)));
  parallel_for((rows + kChunkRows - 1) / kChunkRows, [&](int64_t task, int worker) {
    float* exps = static_cast<float*>(
        worker_scratch(worker, static_cast<size_t>(columns + kLanes) * sizeof(float)));
    const int64_t begin = task * kChunkRows;
    const int64_t end = begin + kChunkRows < rows ? begin + kChunkRows : rows;
    for (int64_t row = begin; row < end; ++row) {
      T* grad = op.grad_logits ? op.grad_logits.as<T>() + row * columns : nullptr;
      losses[row] = static_cast<double>(one_row(op.logits.as<T>() + row * columns,
                                                op.targets.as<A>() + row * columns, columns,
                                                inverse_temperature, grad_scale, exps, grad));
    }
  });
}

}  // namespace

void soft_cross_entropy_cpu(const SoftCrossEntropy& op) {
  const int64_t rows = op.logits.rows;
  double* losses = static_cast<double*>(op_scratch(static_cast<size_t>(rows) * sizeof(double)));
  const bool wide_targets = op.targets.dtype == Dtype::kF32;
  if (op.logits.dtype == Dtype::kF32) {
    wide_targets ? all_rows<float, float>(op, losses) : all_rows<float, bf16>(op, losses);
  } else {
    wide_targets ? all_rows<bf16, float>(op, losses) : all_rows<bf16, bf16>(op, losses);
  }
  double total = 0.0;
  for (int64_t row = 0; row < rows; ++row) total += losses[row];
  *op.loss.as<double>() = total / static_cast<double>(rows);
}

}  // namespace capi::CAPI_ISA
