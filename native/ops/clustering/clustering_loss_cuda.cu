#include "ops/clustering/clustering_loss_cuda.h"

#include "ops/clustering/chunk_sums_cuda.h"

namespace capi::sinkhorn {

namespace {

template <typename T>
struct Outputs {
  T* grad_logits;              // (groups * rows, columns) or null, may be the logits
  float* grad_bias;            // (groups * chunks, columns) or null
  double* losses;              // (groups * chunks) or null
  float* assignments;          // (groups * rows, columns) or null
  const int32_t* target_rows;  // (groups * rows) or null
  void* targets;               // (targets_count, columns) f32 | bf16
  int64_t targets_count;
  bool targets_bf16;
  float pred_slope;  // log2(e) / pred_temp
  float grad_scale;  // 1 / (pred_temp * total_rows)

  __device__ __forceinline__ bool wants_softmax() const {
    return losses != nullptr || grad_logits != nullptr || grad_bias != nullptr;
  }
  // Where the assignment of a row goes: a row of targets, or -1.
  __device__ __forceinline__ int64_t target_of(int64_t row) const {
    if (target_rows == nullptr) return -1;
    const int64_t target = target_rows[row];
    return target < targets_count ? target : -1;
  }
};

// A block takes the rows of one chunk in turn, its threads own the columns
// (sinkhorn_groups_cuda.h). Three steps a row, a reduction between them: E c, its sum and the
// greatest logit; the sum of the softmax's exponentials and their exponents' dot product with E c;
// then everything is known and leaves. E c and the sums of grad_bias stay in registers, so do the
// logits, from which the softmax is made twice: that takes fewer registers than to keep it. In the
// held form the next row is on its way meanwhile. Bytes a logit: 2 read and 2 written (bf16), 8
// read from shared memory; 4 a column of a chunk for grad_bias; a selected row is written once
// more. An A100's share of memory for a row on one multiprocessor is 5000 cycles, its arithmetic
// some 30 instructions a logit, 3900.
template <typename F>
__global__ void __launch_bounds__(kMostThreads, 1)
    clustering_loss_kernel(const typename F::T* logits,             // (groups * rows, columns)
                           const float* __restrict__ column_max,    // (groups, columns)
                           const float* __restrict__ column_scale,  // (groups, columns) or null
                           const float* __restrict__ row_scale,     // (groups * rows) or null
                           Outputs<typename F::T> out, Groups at, Exponent exponent) {
  using Logits = Raw<typename F::T, F::kVec>;
  using Floats = Raw<float, F::kVec>;
  constexpr int kVec = F::kVec;
  const Owned<F> owned(at.columns);
  const int slabs = owned.slabs();
  const bool scaled = column_scale != nullptr;
  const Chunk chunk = chunk_of(at);
  column_max += chunk.group * at.columns;
  if (scaled) column_scale += chunk.group * at.columns;
  float* const grad_bias =
      out.grad_bias != nullptr ? out.grad_bias + int64_t{blockIdx.x} * at.columns : nullptr;

  BlockReduction reduce(shared_memory<float>());
  const Held<F> held(reduce.after());
  if constexpr (F::kHeld) {
    held.next_row.fetch(logits + chunk.begin * at.columns, owned);
    held.column_max.fetch(column_max, owned);
    if (scaled) held.column_scale.fetch(column_scale, owned);
  }

  double loss = 0.0;
  float bias[F::kColumns] = {};  // held form
  for (int64_t row = chunk.begin; row < chunk.end; ++row) {
    Logits raw[F::kVectors] = {};
    if constexpr (F::kHeld) {
      cp_async_wait<0>();
      owned.each(0, [&](int v, int) { raw[v] = held.next_row.load(v); });
      if (row + 1 < chunk.end) held.next_row.fetch(logits + (row + 1) * at.columns, owned);
    }
    const auto logits_of = [&](int v, int column) {
      return F::kHeld ? raw[v] : Logits::load(logits + row * at.columns + column);
    };
    float a[F::kColumns];  // E c
    const auto assign = [&](int slab) {
      owned.each(slab, [&](int v, int column) {
        const Logits l = logits_of(v, column);
        const Floats most = F::kHeld ? held.column_max.load(v) : Floats::load(column_max + column);
#pragma unroll
        for (int j = 0; j < kVec; ++j) a[v * kVec + j] = shifted_exp(l[j], most[j], exponent);
        if (!scaled) return;
        const Floats c = F::kHeld ? held.column_scale.load(v) : Floats::load(column_scale + column);
#pragma unroll
        for (int j = 0; j < kVec; ++j) a[v * kVec + j] *= c[j];
      });
    };

    float first[2] = {-__int_as_float(0x7f800000), 0.0f};  // greatest logit, sum of E c
    for (int slab = 0; slab < slabs; ++slab) {
      assign(slab);
      owned.each(slab, [&](int v, int column) {
        const Logits l = logits_of(v, column);
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          first[0] = fmaxf(first[0], l[j]);
          first[1] += a[v * kVec + j];
        }
      });
    }
    reduce.template operator()<true>(first);
    const float most = first[0], mass = first[1];
    const float r = scaled ? next_row_scale(row_scale[row], mass) : 1.0f;

    float second[2] = {0.0f, 0.0f};  // sum of exponentials, of E c times exponents
    if (out.wants_softmax()) {
      for (int slab = 0; slab < slabs; ++slab) {
        if (!F::kHeld) assign(slab);
        owned.each(slab, [&](int v, int column) {
          const Logits l = logits_of(v, column);
#pragma unroll
          for (int j = 0; j < kVec; ++j) {
            const float power = (l[j] - most) * out.pred_slope;
            second[0] += exp2_approx(power);
            second[1] += a[v * kVec + j] * power;
          }
        });
      }
      reduce(second);
      loss += static_cast<double>(logf(second[0]) * (r * mass) - r * (second[1] * kLn2));
    }

    const float softmax_scale = r * mass / second[0] * out.grad_scale;
    const float a_scale = r * out.grad_scale;
    const int64_t target = out.target_of(row);
    for (int slab = 0; slab < slabs; ++slab) {
      if (!F::kHeld) assign(slab);
      owned.each(slab, [&](int v, int column) {
        float values[kVec];
        if (out.grad_logits != nullptr || grad_bias != nullptr) {
          const Logits l = logits_of(v, column);
#pragma unroll
          for (int j = 0; j < kVec; ++j) {
            values[j] = exp2_approx((l[j] - most) * out.pred_slope) * softmax_scale -
                        a[v * kVec + j] * a_scale;
          }
          if (out.grad_logits != nullptr) {
            store_floats(out.grad_logits + row * at.columns + column, values);
          }
          if constexpr (F::kHeld) {
#pragma unroll
            for (int j = 0; j < kVec; ++j) bias[v * kVec + j] += values[j];
          } else if (grad_bias != nullptr) {  // the owner alone uses this part of grad_bias
            float sum[kVec] = {};
            if (row > chunk.begin) load_floats(sum, grad_bias + column);
#pragma unroll
            for (int j = 0; j < kVec; ++j) sum[j] += values[j];
            store_floats(grad_bias + column, sum);
          }
        }
        if (target < 0 && out.assignments == nullptr) return;
#pragma unroll
        for (int j = 0; j < kVec; ++j) values[j] = a[v * kVec + j] * r;
        if (out.assignments != nullptr) {
          store_floats(out.assignments + row * at.columns + column, values);
        }
        if (target >= 0 && out.targets_bf16) {
          store_floats(static_cast<bf16*>(out.targets) + target * at.columns + column, values);
        } else if (target >= 0) {
          store_floats(static_cast<float*>(out.targets) + target * at.columns + column, values);
        }
      });
    }
  }

  if (out.losses != nullptr && threadIdx.x == 0) out.losses[blockIdx.x] = loss;
  if constexpr (F::kHeld) {
    if (grad_bias == nullptr) return;
    owned.each(0, [&](int v, int column) {
      float sum[kVec];
#pragma unroll
      for (int j = 0; j < kVec; ++j) sum[j] = bias[v * kVec + j];
      store_floats(grad_bias + column, sum);
    });
  }
}

template <typename T>
Outputs<T> outputs_of(const ClusteringLoss& op, const LossPartials& partials) {
  Outputs<T> out = {};
  out.grad_logits = op.grad_logits.as<T>();
  out.grad_bias = op.grad_bias ? partials.grad_bias : nullptr;
  out.losses = op.loss ? partials.losses : nullptr;
  out.assignments = op.assignments.as<float>();
  out.target_rows = op.target_rows.as<int32_t>();
  out.targets = op.targets.data;
  out.targets_count = op.targets.rows;
  out.targets_bf16 = op.targets.dtype == Dtype::kBF16;
  out.pred_slope = softmax_slope(op.pred_temp);
  out.grad_scale = static_cast<float>(1.0 / (op.pred_temp * op.total_rows));
  return out;
}

}  // namespace

void loss_pass(const ClusteringLoss& op, const Groups& groups, const float* column_max,
               const float* column_scale, const float* row_scale, const LossPartials& partials,
               cudaStream_t stream) {
  const bool wide = aligned_rows({op.logits, op.grad_logits, op.targets, op.assignments}, 8) &&
                    aligned_columns(column_max, column_scale);
  with_form(op.logits, wide, column_scale != nullptr, [&](auto form, int threads, size_t bytes) {
    using F = decltype(form);
    using T = typename F::T;
    launch(clustering_loss_kernel<F>, static_cast<unsigned>(groups.all_chunks()), threads, bytes,
           stream, op.logits.as<T>(), column_max, column_scale, row_scale,
           outputs_of<T>(op, partials), groups, exponent_of(op.target_temp));
  });
  if (op.grad_bias) {
    add_partials(partials.grad_bias, 1, groups.all_chunks(), groups.columns, op.accumulate,
                 op.grad_bias.as<float>(), {}, stream);
  }
  if (op.loss) {
    add_losses(partials.losses, groups.all_chunks(), op.total_rows, op.accumulate,
               op.loss.as<double>(), stream);
  }
}

}  // namespace capi::sinkhorn
