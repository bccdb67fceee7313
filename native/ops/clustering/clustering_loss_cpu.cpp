// Row by row: a scan for its mass and largest logit, its softmax, then its gradient.
#include "ops/clustering/clustering_loss_cpu.h"

#include "core/thread_pool.h"
#include "ops/clustering/assignments_cpu.h"
#include "ops/clustering/chunk_sums_cpu.h"
#include "ops/clustering/sinkhorn_scaling_cpu.h"

namespace capi::CAPI_ISA {

namespace sinkhorn {

namespace {

constexpr float kInfinity = __builtin_inff();

struct RowScan {
  float mass;  // sum of E c
  float most;  // the largest logit
};

template <typename T>
RowScan scan_row(const T* logits, const float* e, const float* column_scale, int64_t columns) {
  Vec mass = zero(), most = broadcast(-kInfinity);
  for_columns(columns, [&](int64_t k, auto span) {
    mass += scaled(e, column_scale, k, span);
    most = vmax(fill_beyond(load(logits + k, span), span, -kInfinity), most);
  });
  return {sum(mass), max_lane(most)};
}

// With z = (logits - largest logit) / pred_temp.
struct RowSoftmax {
  float normaliser;  // sum of exp(z)
  Vec dot;           // E c z, summed lane by lane
};

// Leaves exp(z) in `exponentials`.
template <typename T>
RowSoftmax softmax_row(const T* logits, float largest, float inverse_temp, const float* e,
                       const float* column_scale, int64_t columns, float* exponentials) {
  const Vec most = broadcast(largest);
  Vec normaliser = zero(), dot = zero();
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec z = (load(logits + k, span) - most) * inverse_temp;
    const Vec p = fill_beyond(exp_nonpositive(z, kExpScale), span, 0.0f);
    store(exponentials + k, p);
    normaliser += p;
    dot += scaled(e, column_scale, k, span) * z;
  });
  return {sum(normaliser), dot};
}

// The gradient softmax_scale exp(z) - a_scale E c goes to grad and is added to grad_bias; either
// may be null.
template <typename T>
void gradient_row(const float* exponentials, float softmax_scale, const float* e,
                  const float* column_scale, float a_scale, int64_t columns, T* grad,
                  float* grad_bias) {
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec a = scaled(e, column_scale, k, span);
    const Vec g = load(exponentials + k) * softmax_scale - a * a_scale;
    if (grad != nullptr) store(grad + k, g, span);
    if (grad_bias != nullptr) store(grad_bias + k, load(grad_bias + k) + g);
  });
}

// What the op wants of each row. Pointers and views begin at the first row of the group.
struct RowOutputs {
  AssignmentOutputs assignments;
  void* grad_logits;  // null: not wanted
  bool wants_softmax;
  float inverse_pred_temp;
  float grad_scale;  // 1 / (pred_temp * total_rows)
};

// Moves a view of what all groups have to the rows of one.
MatrixView from_element(MatrixView view, int64_t element) {
  if (view) {
    view.data = view.as<char>() + element * static_cast<int64_t>(dtype_size(view.dtype));
  }
  return view;
}

RowOutputs outputs_of(const ClusteringLoss& op, const Group& group) {
  const int64_t first_row = group.first_row, first_element = first_row * group.columns;
  return {.assignments = {.assignments = from_element(op.assignments, first_element),
                          .target_rows = from_element(op.target_rows, first_row),
                          .targets = op.targets},
          .grad_logits = from_element(op.grad_logits, first_element).data,
          .wants_softmax = op.loss || op.grad_logits || op.grad_bias,
          .inverse_pred_temp = static_cast<float>(1.0 / op.pred_temp),
          .grad_scale = static_cast<float>(1.0 / (op.pred_temp * op.total_rows))};
}

// e: E of the row. Returns its loss.
template <typename T>
float finish_row(const Group& group, int64_t row, const float* e, const RowOutputs& out,
                 float* work, float* grad_bias) {
  const int64_t columns = group.columns;
  const float* c = group.column_scale;
  const T* logits = group.row<T>(row);

  const RowScan scan = scan_row(logits, e, c, columns);
  const float r = c != nullptr ? next_row_scale(group.row_scale[row], scan.mass) : 1.0f;
  out.assignments.write(row, e, c, r);
  if (!out.wants_softmax) return 0.0f;

  const RowSoftmax softmax =
      softmax_row(logits, scan.most, out.inverse_pred_temp, e, c, columns, work);
  if (out.grad_logits != nullptr || grad_bias != nullptr) {
    T* grad =
        out.grad_logits == nullptr ? nullptr : static_cast<T*>(out.grad_logits) + row * columns;
    gradient_row(work, r * scan.mass / softmax.normaliser * out.grad_scale, e, c,
                 r * out.grad_scale, columns, grad, grad_bias);
  }
  return logf(softmax.normaliser) * (r * scan.mass) - r * sum(softmax.dot);
}

template <typename T>
double finish_rows(const Group& group, int64_t chunk, const float* kept, float* e_row,
                   const RowOutputs& out, float* work, float* grad_bias) {
  const int64_t stride = scratch_stride(group.columns);
  double loss = 0.0;
  const int64_t end = group.chunk_end(chunk);
  for (int64_t row = chunk * kChunkRows; row < end; ++row) {
    if (kept == nullptr) exponentials<1, T>(group, row, e_row, stride);
    const float* e = kept != nullptr ? kept + row * stride : e_row;
    loss += static_cast<double>(finish_row<T>(group, row, e, out, work, grad_bias));
  }
  return loss;
}

}  // namespace

LossPartials take_loss_partials(Carver& carver, const ClusteringLoss& op, const Groups& groups) {
  const int64_t chunks = groups.all_chunks(), stride = groups.stride();
  return {.losses = carver.take<double>(chunks),
          .grad_bias = op.grad_bias ? carver.take<float>(chunks * stride) : nullptr,
          .stride = stride};
}

double chunk_loss(const ClusteringLoss& op, const Group& group, int64_t chunk, const float* kept,
                  float* e_row, float* work, float* grad_bias) {
  if (grad_bias != nullptr) {
    memset(grad_bias, 0, static_cast<size_t>(scratch_stride(group.columns)) * sizeof(float));
  }
  const RowOutputs out = outputs_of(op, group);
  return group.dtype == Dtype::kBF16
             ? finish_rows<bf16>(group, chunk, kept, e_row, out, work, grad_bias)
             : finish_rows<float>(group, chunk, kept, e_row, out, work, grad_bias);
}

void add_loss_partials(const ClusteringLoss& op, const Groups& groups,
                       const LossPartials& partials) {
  const int64_t chunks = groups.all_chunks();
  if (op.loss) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials.losses[chunk];
    double* loss = op.loss.as<double>();
    *loss = (op.accumulate ? *loss : 0.0) + total / op.total_rows;
  }
  if (op.grad_bias) {
    add_partials_of_groups(partials.grad_bias, 1, chunks, groups.columns, op.accumulate,
                           op.grad_bias.as<float>());
  }
}

void loss_phase(const ClusteringLoss& op, const Groups& groups, const Vectors& vectors,
                const LossPartials& partials) {
  const int64_t chunks = groups.chunks, stride = groups.stride();
  parallel_for(groups.all_chunks(), [&](int64_t task, int worker) {
    float* e_row = static_cast<float*>(
        worker_scratch(worker, static_cast<size_t>(2 * stride) * sizeof(float)));
    partials.losses[task] = chunk_loss(op, groups.group(task / chunks, vectors), task % chunks,
                                       nullptr, e_row, e_row + stride, partials.grad_bias_of(task));
  });
  add_loss_partials(op, groups, partials);
}

}  // namespace sinkhorn

using namespace sinkhorn;

void clustering_loss_cpu(const ClusteringLoss& op) {
  const Groups groups(op.logits, op.groups, op.target_temp);
  const LossPartials partials =
      carve_op_scratch([&](Carver& carver) { return take_loss_partials(carver, op, groups); });
  loss_phase(op, groups,
             {.column_max = op.column_max.as<float>(),
              .column_scale = op.column_scale.as<float>(),
              .row_scale = op.row_scale.as<float>()},
             partials);
}

}  // namespace capi::CAPI_ISA
