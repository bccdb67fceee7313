#include "ops/optim/adamw.h"

#include <math.h>

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

// Elements of a task: fixed, and not tied to the segments, so that tasks are equal.
constexpr int64_t kTaskElements = 1 << 15;

struct Coefficients {
  float keep;                    // 1 - lr wd
  float beta1, one_minus_beta1;  // of m
  float beta2, one_minus_beta2;  // of v
  float step_size;               // lr / (1 - beta1^step)
  float root_correction;         // 1 / sqrt(1 - beta2^step)
  float eps;
  float momentum, one_minus_momentum;
};

void update(const AdamwEma& op, const Coefficients& c, int64_t begin, int64_t end) {
  float* param = op.param.as<float>();
  float* m = op.m.as<float>();
  float* v = op.v.as<float>();
  const float* grad = op.grad.as<float>();
  for (int64_t i = begin; i < end; i += kLanes) {
    const int64_t left = end - i;
    const Vec g = load_up_to(grad + i, left);
    const Vec mean = load_up_to(m + i, left) * c.beta1 + g * c.one_minus_beta1;
    const Vec square = load_up_to(v + i, left) * c.beta2 + g * g * c.one_minus_beta2;
    const Vec root = vsqrt(square) * c.root_correction + c.eps;
    const Vec p = load_up_to(param + i, left) * c.keep - mean * c.step_size / root;
    store_up_to(m + i, mean, left);
    store_up_to(v + i, square, left);
    store_up_to(param + i, p, left);
    if (op.param_bf16) store_up_to(op.param_bf16.as<bf16>() + i, p, left);
    if (!op.ema) continue;
    float* ema = op.ema.as<float>();
    const Vec average = load_up_to(ema + i, left) * c.momentum + p * c.one_minus_momentum;
    store_up_to(ema + i, average, left);
    if (op.ema_bf16) store_up_to(op.ema_bf16.as<bf16>() + i, average, left);
  }
}

// The first segment that ends after `element`.
int64_t segment_at(const int32_t* segments, int64_t count, int64_t element) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (int64_t{segments[2 * middle]} + segments[2 * middle + 1] > element) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

void adamw_ema_cpu(const AdamwEma& op) {
  if (op.nonfinite && op.nonfinite.as<int32_t>()[0] != 0) return;
  const int32_t step = ++op.step.as<int32_t>()[0];
  const float* scalars = op.scalars.as<float>();
  const double lr = scalars[0], weight_decay = scalars[1], momentum = scalars[2];
  const double correction1 = 1 - pow(op.beta1, step), correction2 = 1 - pow(op.beta2, step);
  const int64_t n = op.param.cols, count = op.segments.rows;
  const int32_t* segments = op.segments.as<int32_t>();
  const float* multipliers = op.multipliers.as<float>();
  parallel_for((n + kTaskElements - 1) / kTaskElements, [&](int64_t task, int) {
    const int64_t begin = task * kTaskElements;
    const int64_t end = begin + kTaskElements < n ? begin + kTaskElements : n;
    for (int64_t s = segment_at(segments, count, begin); s < count && segments[2 * s] < end; ++s) {
      const double rate = lr * multipliers[2 * s];
      const Coefficients c = {
          .keep = static_cast<float>(1 - rate * weight_decay * multipliers[2 * s + 1]),
          .beta1 = static_cast<float>(op.beta1),
          .one_minus_beta1 = static_cast<float>(1 - op.beta1),
          .beta2 = static_cast<float>(op.beta2),
          .one_minus_beta2 = static_cast<float>(1 - op.beta2),
          .step_size = static_cast<float>(rate / correction1),
          .root_correction = static_cast<float>(1 / sqrt(correction2)),
          .eps = static_cast<float>(op.eps),
          .momentum = static_cast<float>(momentum),
          .one_minus_momentum = static_cast<float>(1 - momentum)};
      const int64_t first = segments[2 * s], last = first + segments[2 * s + 1];
      update(op, c, first > begin ? first : begin, last < end ? last : end);
    }
  });
}

}  // namespace capi::CAPI_ISA
