#include "core/cuda/block.h"
#include "core/cuda/launch.h"
#include "core/device_queue.h"
#include "ops/optim/adamw.h"

namespace capi {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;  // 16 bytes of f32; 8 of a bf16 copy, whole lines over a warp
// Elements of a block: it finds its first segment by bisection, which 8 rounds of loads make cheap.
constexpr int64_t kBlockElements = kThreads * kVector * 8;

// What the step's scalars come to, worked out once in f64.
struct alignas(16) StepConstants {
  float root_correction;  // 1 / sqrt(1 - beta2^step)
  float momentum, one_minus_momentum;
  int32_t skip;  // a gradient was not finite
};
struct alignas(16) Segment {
  int32_t offset, length;
  float keep;       // 1 - lr wd
  float step_size;  // lr / (1 - beta1^step)
};
// Arguments that no iteration changes.
struct Betas {
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float eps;
};

// One block: counts the step, once, and makes the table of the pass below.
__global__ void prepare_kernel(const int32_t* __restrict__ segments,   // (S, 2)
                               const float* __restrict__ multipliers,  // (S, 2)
                               const float* __restrict__ scalars,      // (4)
                               const int32_t* __restrict__ nonfinite,  // (1) or null
                               int32_t* __restrict__ step,             // (1)
                               StepConstants* __restrict__ constants,  // (1)
                               Segment* __restrict__ table,            // (S)
                               int count, double beta1, double beta2) {
  double* const correction1 = shared_memory<double>();  // 1 - beta1^step
  if (nonfinite != nullptr && *nonfinite != 0) {
    if (threadIdx.x == 0) *constants = {0, 0, 0, 1};
    return;
  }
  const double lr = scalars[0], weight_decay = scalars[1], momentum = scalars[2];
  if (threadIdx.x == 0) {
    const int32_t now = *step + 1;
    *step = now;
    *correction1 = 1 - pow(beta1, static_cast<double>(now));
    *constants = {static_cast<float>(1 / sqrt(1 - pow(beta2, static_cast<double>(now)))),
                  static_cast<float>(momentum), static_cast<float>(1 - momentum), 0};
  }
  __syncthreads();
  for (int s = threadIdx.x; s < count; s += kThreads) {
    const double rate = lr * multipliers[2 * s];
    table[s] = {segments[2 * s], segments[2 * s + 1],
                static_cast<float>(1 - rate * weight_decay * multipliers[2 * s + 1]),
                static_cast<float>(rate / *correction1)};
  }
}

// Flat arenas of f32 and bf16, of n elements each.
struct Arenas {
  float *param, *m, *v;
  const float* grad;
  float* ema;                   // null: none
  bf16 *param_bf16, *ema_bf16;  // null: none
};

template <int kVec>
__device__ __forceinline__ void update(const Arenas& a, int64_t i, const Betas& b,
                                       const StepConstants& c, float keep, float step_size) {
  float p[kVec], g[kVec], m[kVec], v[kVec], average[kVec] = {};
  load_floats(p, a.param + i);
  load_floats(g, a.grad + i);
  load_floats(m, a.m + i);
  load_floats(v, a.v + i);
  if (a.ema != nullptr) load_floats(average, a.ema + i);
#pragma unroll
  for (int j = 0; j < kVec; ++j) {
    m[j] = m[j] * b.beta1 + g[j] * b.one_minus_beta1;
    v[j] = v[j] * b.beta2 + g[j] * g[j] * b.one_minus_beta2;
    p[j] = p[j] * keep - m[j] * step_size / (sqrtf(v[j]) * c.root_correction + b.eps);
    if (a.ema != nullptr) average[j] = average[j] * c.momentum + p[j] * c.one_minus_momentum;
  }
  store_floats(a.m + i, m);
  store_floats(a.v + i, v);
  store_floats(a.param + i, p);
  if (a.param_bf16 != nullptr) store_floats(a.param_bf16 + i, p);
  if (a.ema == nullptr) return;
  store_floats(a.ema + i, average);
  if (a.ema_bf16 != nullptr) store_floats(a.ema_bf16 + i, average);
}

// The first segment that ends after `element`.
__device__ int segment_at(const Segment* table, int count, int64_t element) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (int64_t{table[middle].offset} + table[middle].length > element) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// A block a run of kBlockElements, whatever segments lie there. Reads 20 bytes and writes 20 for
// each element, the least there is, so that nothing else counts: the threads of a multiprocessor
// keep 5 loads of 16 bytes each on their way.
template <int kVec>
__global__ void adamw_ema_kernel(Arenas arenas,
                                 const StepConstants* __restrict__ constants,  // (1)
                                 const Segment* __restrict__ table,            // (S)
                                 int count, int64_t n, Betas betas) {
  const StepConstants c = load_16<StepConstants>(constants);
  if (c.skip != 0) return;
  const int64_t begin = int64_t{blockIdx.x} * kBlockElements;
  const int64_t end = begin + kBlockElements < n ? begin + kBlockElements : n;
  for (int s = segment_at(table, count, begin); s < count; ++s) {
    const Segment segment = load_16<Segment>(table + s);
    if (segment.offset >= end) break;
    const int64_t stop = int64_t{segment.offset} + segment.length;
    const int64_t first = segment.offset > begin ? segment.offset : begin;
    const int64_t last = stop < end ? stop : end;
    for (int64_t i = first / kVec * kVec + int64_t{threadIdx.x} * kVec; i < last;
         i += kThreads * kVec) {
      if (i >= first && i + kVec <= last) {
        update<kVec>(arenas, i, betas, c, segment.keep, segment.step_size);
      } else {  // an end of the segment inside an access
        for (int64_t j = i < first ? first : i; j < i + kVec && j < last; ++j) {
          update<1>(arenas, j, betas, c, segment.keep, segment.step_size);
        }
      }
    }
  }
}

}  // namespace

void adamw_ema_cuda(const AdamwEma& op, DeviceQueue& queue) {
  const int count = static_cast<int>(op.segments.rows);
  auto* const constants = static_cast<StepConstants*>(
      queue.scratch(sizeof(StepConstants) + static_cast<size_t>(count) * sizeof(Segment)));
  auto* const table = reinterpret_cast<Segment*>(constants + 1);
  launch(prepare_kernel, 1, kThreads, sizeof(double), queue.handle(), op.segments.as<int32_t>(),
         op.multipliers.as<float>(), op.scalars.as<float>(), op.nonfinite.as<int32_t>(),
         op.step.as<int32_t>(), constants, table, count, op.beta1, op.beta2);

  const Arenas arenas = {op.param.as<float>(),  op.m.as<float>(),   op.v.as<float>(),
                         op.grad.as<float>(),   op.ema.as<float>(), op.param_bf16.as<bf16>(),
                         op.ema_bf16.as<bf16>()};
  const Betas betas = {static_cast<float>(op.beta1), static_cast<float>(1 - op.beta1),
                       static_cast<float>(op.beta2), static_cast<float>(1 - op.beta2),
                       static_cast<float>(op.eps)};
  // Ragged ends are the kernel's to see to.
  const bool wide =
      aligned_rows({op.param, op.grad, op.m, op.v, op.ema, op.param_bf16, op.ema_bf16}, 1);
  launch(wide ? adamw_ema_kernel<kVector> : adamw_ema_kernel<1>,
         blocks_for(op.param.cols, kBlockElements), kThreads, 0, queue.handle(), arenas, constants,
         table, count, op.param.cols, betas);
}

}  // namespace capi
