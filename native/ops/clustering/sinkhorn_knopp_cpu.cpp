// A group is cut into chunks of rows, whatever the number of threads: sums over rows are taken
// within a chunk in f32, over chunks in f64, both in order. Groups are tasks when there are enough
// of them (E is then computed once and kept); otherwise chunks are, phase by phase, and E is
// recomputed: the same arithmetic, the same bits.
#include "ops/clustering/sinkhorn_knopp.h"

#include <float.h>

#include "core/thread_pool.h"
#include "ops/loss/softmax_simd.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kChunkRows = 128;
// Rows taken together: column vectors are then read once for all of them.
constexpr int kBlockRows = 4;
// A worker keeps E of a group up to this size.
constexpr int64_t kKeptBytes = int64_t{16} << 20;
// Columns a task of a reduction takes.
constexpr int64_t kStripe = 1024;
constexpr float kEps = 1e-8f;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
// Rows of scratch are whole cache lines, and one more so that they do not fall into one cache set.
inline int64_t scratch_stride(int64_t columns) { return (columns + 15) / 16 * 16 + 16; }

// Carves arrays out of one block of scratch: first measured with a null base, then placed.
struct Carver {
  char* base;
  size_t used = 0;

  template <typename T>
  T* take(int64_t count) {
    T* at = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
};

// The logits and vectors of one group.
struct Group {
  const void* logits;  // (rows, columns)
  const float* column_max;
  const float* column_scale;  // null in the first pass
  float* row_scale;
  int64_t rows, columns;
  float inverse_temp;

  template <typename T>
  const T* row(int64_t i) const {
    return static_cast<const T*>(logits) + i * columns;
  }
  int64_t chunks() const { return ceil_div(rows, kChunkRows); }
  int64_t chunk_end(int64_t chunk) const { return smaller((chunk + 1) * kChunkRows, rows); }
};

inline float next_row_scale(float scale, float row_sum) {
  if (row_sum == 0.0f) return 0.0f;  // every entry underflowed: the row stays zero
  const float next = scale / (scale * row_sum + kEps);
  return next > FLT_MAX ? FLT_MAX : next;
}

inline float next_column_scale(float scale, float column_sum) {
  return column_sum == 0.0f ? 0.0f : scale / (scale * column_sum + kEps);
}

// max(into, rows [begin, end)) of every column.
template <typename T>
void max_of_rows(const T* rows, int64_t count, int64_t columns, bool keep, float* into) {
  for (int64_t i = 0; i < count; i += kBlockRows) {
    const bool first = i == 0 && !keep;
    // The last block may repeat rows: the maximum does not mind.
    const int64_t last = count - 1;
    const T* a = rows + i * columns;
    const T* b = rows + smaller(i + 1, last) * columns;
    const T* c = rows + smaller(i + 2, last) * columns;
    const T* d = rows + smaller(i + 3, last) * columns;
    for_columns(columns, [&](int64_t k, auto span) {
      Vec most = vmax(vmax(load(a + k, span), load(b + k, span)),
                      vmax(load(c + k, span), load(d + k, span)));
      if (!first) most = vmax(most, load(into + k, span));
      store(into + k, most, span);
    });
  }
}

// E of R rows from `row` on, into e. The padding of a ragged row is zeroed.
template <int R, typename T>
void exponentials(const Group& group, int64_t row, float* e, int64_t stride) {
  const T* logits = group.row<T>(row);
  // Locals: a store through memcpy may alias the fields of group.
  const float* column_max = group.column_max;
  const int64_t columns = group.columns;
  const float inverse_temp = group.inverse_temp;
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec most = load(column_max + k, span);
    for (int i = 0; i < R; ++i) {
      const Vec x = (load(logits + i * columns + k, span) - most) * inverse_temp;
      store(e + i * stride + k, fill_beyond(exp_nonpositive(x, kExpScale50), span, 0.0f));
    }
  });
}

// sums += sum over R rows of row_scale E, after the row scales took in the sums of their rows. The
// pairwise order within a block keeps the f32 sum of a chunk as short as chunk / R additions.
template <int R>
void add_block(const Group& group, int64_t row, const float* e, int64_t stride, float* sums) {
  Vec scale[R];
  if (group.column_scale != nullptr) {
    Vec total[R] = {};
    for_columns(group.columns, [&](int64_t k, auto span) {
      const Vec c = load(group.column_scale + k, span);
      for (int i = 0; i < R; ++i) total[i] += load(e + i * stride + k) * c;
    });
    for (int i = 0; i < R; ++i) {
      float* r = group.row_scale + row + i;
      *r = next_row_scale(*r, sum(total[i]));
      scale[i] = broadcast(*r);
    }
  } else {
    for (int i = 0; i < R; ++i) {
      group.row_scale[row + i] = 1.0f;
      scale[i] = broadcast(1.0f);
    }
  }
  for_columns(group.columns, [&](int64_t k, auto) {
    Vec part = scale[0] * load(e + k);
    for (int i = 1; i < R; ++i) part += scale[i] * load(e + i * stride + k);
    store(sums + k, load(sums + k) + part);
  });
}

// Column sums of r E over one chunk of rows, into sums (scratch_stride(columns) long). kept: E of
// the whole group, filled in the first pass; null: e_block holds E of one block.
template <int R, typename T>
void add_rows(const Group& group, int64_t row, float* kept, float* e_block, int64_t stride,
              float* sums) {
  float* e = kept != nullptr ? kept + row * stride : e_block;
  if (kept == nullptr || group.column_scale == nullptr) {
    exponentials<R, T>(group, row, e, stride);
  }
  add_block<R>(group, row, e, stride, sums);
}
template <typename T>
void chunk_sums(const Group& group, int64_t chunk, float* kept, float* e_block, float* sums) {
  const int64_t stride = scratch_stride(group.columns);
  memset(sums, 0, static_cast<size_t>(stride) * sizeof(float));
  const int64_t end = group.chunk_end(chunk);
  int64_t row = chunk * kChunkRows;
  for (; row + kBlockRows <= end; row += kBlockRows) {
    add_rows<kBlockRows, T>(group, row, kept, e_block, stride, sums);
  }
  for (; row < end; ++row) add_rows<1, T>(group, row, kept, e_block, stride, sums);
}

// into[k] = (add: into[k] +) sum over `count` partial rows, in f64, for k in [begin, end).
void reduce(const float* partials, int64_t count, int64_t stride, int64_t begin, int64_t end,
            bool add, float* into) {
  constexpr int kWidth = 64;
  double total[kWidth];
  for (int64_t base = begin; base < end; base += kWidth) {
    const int width = static_cast<int>(smaller(kWidth, end - base));
    for (int k = 0; k < width; ++k) total[k] = add ? static_cast<double>(into[base + k]) : 0.0;
    for (int64_t i = 0; i < count; ++i) {
      const float* partial = partials + i * stride + base;
      for (int k = 0; k < width; ++k) total[k] += static_cast<double>(partial[k]);
    }
    for (int k = 0; k < width; ++k) into[base + k] = static_cast<float>(total[k]);
  }
}

// Where the last pass writes; row pointers are those of the group. Null: not wanted.
struct Outputs {
  void* grad_logits;
  float* assignments;
  const int32_t* target_rows;
  void* targets;
  int64_t targets_count;
  bool targets_bf16;
  bool wants_softmax;
  float inverse_pred_temp;
  float grad_scale;  // 1 / (pred_temp * total_rows)
};

template <typename T>
void write_assignment(const float* e, const float* column_scale, float r, int64_t columns, T* to) {
  for_columns(columns, [&](int64_t k, auto span) {
    Vec a = load(e + k);
    if (column_scale != nullptr) a = a * load(column_scale + k, span);
    store(to + k, a * r, span);
  });
}

// The last row sum, assignment, loss and gradient of one row. e: its E; work: a row of scratch.
// Returns the loss.
template <typename T>
float finish_row(const Group& group, int64_t row, const float* e, const Outputs& out, float* work,
                 float* grad_bias) {
  const int64_t columns = group.columns;
  const float* c = group.column_scale;
  const T* logits = group.row<T>(row);

  Vec mass_sum = zero(), most_of = broadcast(-__builtin_inff());
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec a = load(e + k);
    mass_sum += c != nullptr ? a * load(c + k, span) : a;
    most_of = vmax(fill_beyond(load(logits + k, span), span, -__builtin_inff()), most_of);
  });
  const float mass = sum(mass_sum);
  const float r = c != nullptr ? next_row_scale(group.row_scale[row], mass) : 1.0f;

  if (out.assignments != nullptr) {
    write_assignment(e, c, r, columns, out.assignments + row * columns);
  }
  if (out.target_rows != nullptr) {
    const int64_t target = out.target_rows[row];
    if (target >= 0 && target < out.targets_count) {
      if (out.targets_bf16) {
        write_assignment(e, c, r, columns, static_cast<bf16*>(out.targets) + target * columns);
      } else {
        write_assignment(e, c, r, columns, static_cast<float*>(out.targets) + target * columns);
      }
    }
  }
  if (!out.wants_softmax) return 0.0f;

  const Vec most = broadcast(max_lane(most_of));
  const float inverse_temp = out.inverse_pred_temp;
  Vec exp_sum = zero(), dot_sum = zero();
  for_columns(columns, [&](int64_t k, auto span) {
    const Vec z = (load(logits + k, span) - most) * inverse_temp;
    const Vec p = fill_beyond(exp_nonpositive(z, kExpScale), span, 0.0f);
    store(work + k, p);
    exp_sum += p;
    const Vec a = load(e + k);  // zero beyond the end
    dot_sum += (c != nullptr ? a * load(c + k, span) : a) * z;
  });
  const float normaliser = sum(exp_sum);

  if (out.grad_logits != nullptr || grad_bias != nullptr) {
    T* grad =
        out.grad_logits == nullptr ? nullptr : static_cast<T*>(out.grad_logits) + row * columns;
    const float softmax_scale = r * mass / normaliser * out.grad_scale;
    const float a_scale = r * out.grad_scale;
    for_columns(columns, [&](int64_t k, auto span) {
      Vec a = load(e + k);
      if (c != nullptr) a = a * load(c + k, span);
      const Vec g = load(work + k) * softmax_scale - a * a_scale;
      if (grad != nullptr) store(grad + k, g, span);
      if (grad_bias != nullptr) store(grad_bias + k, load(grad_bias + k) + g);
    });
  }
  return logf(normaliser) * (r * mass) - r * sum(dot_sum);
}

// The last pass over one chunk: returns its loss. grad_bias (may be null): scratch_stride(columns)
// long.
template <typename T>
double chunk_loss(const Group& group, int64_t chunk, const float* kept, float* e_row, float* work,
                  const Outputs& out, float* grad_bias) {
  const int64_t stride = scratch_stride(group.columns);
  if (grad_bias != nullptr) memset(grad_bias, 0, static_cast<size_t>(stride) * sizeof(float));
  double loss = 0.0;
  const int64_t end = group.chunk_end(chunk);
  for (int64_t row = chunk * kChunkRows; row < end; ++row) {
    if (kept == nullptr) exponentials<1, T>(group, row, e_row, stride);
    const float* e = kept != nullptr ? kept + row * stride : e_row;
    loss += static_cast<double>(finish_row<T>(group, row, e, out, work, grad_bias));
  }
  return loss;
}

// The same calls for either storage type of the logits.
struct Rows {
  bool is_bf16;

  void max(const Group& g, int64_t begin, int64_t count, bool keep, float* into) const {
    if (is_bf16) {
      max_of_rows(g.row<bf16>(begin), count, g.columns, keep, into);
    } else {
      max_of_rows(g.row<float>(begin), count, g.columns, keep, into);
    }
  }
  void sums(const Group& g, int64_t chunk, float* kept, float* e_block, float* into) const {
    if (is_bf16) {
      chunk_sums<bf16>(g, chunk, kept, e_block, into);
    } else {
      chunk_sums<float>(g, chunk, kept, e_block, into);
    }
  }
  double loss(const Group& g, int64_t chunk, const float* kept, float* e_row, float* work,
              const Outputs& out, float* grad_bias) const {
    return is_bf16 ? chunk_loss<bf16>(g, chunk, kept, e_row, work, out, grad_bias)
                   : chunk_loss<float>(g, chunk, kept, e_row, work, out, grad_bias);
  }
};

// All groups of one op.
struct Problem {
  MatrixView logits;
  int64_t groups, rows, columns, chunks;  // rows and chunks of one group
  float inverse_temp;
  Rows kernels;

  Problem(const MatrixView& view, int64_t group_count, double target_temp)
      : logits(view),
        groups(group_count),
        rows(view.rows / group_count),
        columns(view.cols),
        chunks(ceil_div(view.rows / group_count, kChunkRows)),
        inverse_temp(static_cast<float>(1.0 / target_temp)),
        kernels{view.dtype == Dtype::kBF16} {}

  int64_t stride() const { return scratch_stride(columns); }
  Group group(int64_t g, const float* column_max, const float* column_scale,
              float* row_scale) const {
    return {static_cast<const char*>(logits.data) +
                g * rows * columns * static_cast<int64_t>(dtype_size(logits.dtype)),
            column_max == nullptr ? nullptr : column_max + g * columns,
            column_scale == nullptr ? nullptr : column_scale + g * columns,
            row_scale == nullptr ? nullptr : row_scale + g * rows,
            rows,
            columns,
            inverse_temp};
  }
};

template <typename Op>
Outputs outputs_of(const Op& op, const Problem& problem, int64_t g) {
  const int64_t begin = g * problem.rows;
  Outputs out = {};
  if (op.grad_logits) {
    out.grad_logits =
        op.grad_logits.template as<char>() +
        begin * problem.columns * static_cast<int64_t>(dtype_size(op.grad_logits.dtype));
  }
  if (op.assignments) {
    out.assignments = op.assignments.template as<float>() + begin * problem.columns;
  }
  if (op.targets) {
    out.target_rows = op.target_rows.template as<int32_t>() + begin;
    out.targets = op.targets.data;
    out.targets_count = op.targets.rows;
    out.targets_bf16 = op.targets.dtype == Dtype::kBF16;
  }
  out.wants_softmax = op.loss || op.grad_logits || op.grad_bias;
  out.inverse_pred_temp = static_cast<float>(1.0 / op.pred_temp);
  out.grad_scale = static_cast<float>(1.0 / (op.pred_temp * op.total_rows));
  return out;
}

// Every group's partial rows into its row of `into`.
void reduce_groups(const float* partials, int64_t groups, int64_t chunks, int64_t columns, bool add,
                   float* into) {
  const int64_t stride = scratch_stride(columns), stripes = ceil_div(columns, kStripe);
  parallel_for(groups * stripes, [&](int64_t task, int) {
    const int64_t g = task / stripes, begin = task % stripes * kStripe;
    reduce(partials + g * chunks * stride, chunks, stride, begin, smaller(begin + kStripe, columns),
           add, into + g * columns);
  });
}

void phase_column_max(const Problem& p, bool keep, float* column_max, float* partials) {
  parallel_for(p.groups * p.chunks, [&](int64_t task, int) {
    const int64_t chunk = task % p.chunks, begin = chunk * kChunkRows;
    const Group group = p.group(task / p.chunks, nullptr, nullptr, nullptr);
    p.kernels.max(group, begin, group.chunk_end(chunk) - begin, false,
                  partials + task * p.stride());
  });
  const int64_t stripes = ceil_div(p.columns, kStripe);
  parallel_for(p.groups * stripes, [&](int64_t task, int) {
    const int64_t g = task / stripes, begin = task % stripes * kStripe;
    const int64_t width = smaller(kStripe, p.columns - begin);
    float* into = column_max + g * p.columns + begin;
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      max_of_rows(partials + (g * p.chunks + chunk) * p.stride() + begin, 1, width,
                  keep || chunk > 0, into);
    }
  });
}

void phase_column_sums(const Problem& p, const float* column_max, const float* column_scale,
                       float* row_scale, bool accumulate, float* column_sums, float* partials) {
  parallel_for(p.groups * p.chunks, [&](int64_t task, int worker) {
    const Group group = p.group(task / p.chunks, column_max, column_scale, row_scale);
    float* e_block = static_cast<float*>(
        worker_scratch(worker, static_cast<size_t>(kBlockRows * p.stride()) * sizeof(float)));
    p.kernels.sums(group, task % p.chunks, nullptr, e_block, partials + task * p.stride());
  });
  reduce_groups(partials, p.groups, p.chunks, p.columns, accumulate, column_sums);
}

void update_columns(const float* sums, int64_t count, bool first, float* scale) {
  for (int64_t k = 0; k < count; ++k) {
    scale[k] = first ? 1.0f / (sums[k] + kEps) : next_column_scale(scale[k], sums[k]);
  }
}
void phase_update_columns(const float* sums, int64_t count, bool first, float* scale) {
  parallel_for(ceil_div(count, kStripe), [&](int64_t task, int) {
    const int64_t begin = task * kStripe;
    update_columns(sums + begin, smaller(kStripe, count - begin), first, scale + begin);
  });
}

// Adds the partial losses and bias gradients of all tasks, in order.
template <typename Op>
void finish(const Op& op, const Problem& p, const double* losses, const float* bias_partials) {
  const int64_t tasks = p.groups * p.chunks;
  if (op.loss) {
    double total = 0.0;
    for (int64_t task = 0; task < tasks; ++task) total += losses[task];
    double* loss = op.loss.template as<double>();
    *loss = (op.accumulate ? *loss : 0.0) + total / op.total_rows;
  }
  if (op.grad_bias) {
    reduce_groups(bias_partials, 1, tasks, p.columns, op.accumulate,
                  op.grad_bias.template as<float>());
  }
}

template <typename Op>
void phase_loss(const Op& op, const Problem& p, const float* column_max, const float* column_scale,
                float* row_scale, double* losses, float* bias_partials) {
  parallel_for(p.groups * p.chunks, [&](int64_t task, int worker) {
    const int64_t g = task / p.chunks;
    float* e_row = static_cast<float*>(
        worker_scratch(worker, static_cast<size_t>(2 * p.stride()) * sizeof(float)));
    losses[task] =
        p.kernels.loss(p.group(g, column_max, column_scale, row_scale), task % p.chunks, nullptr,
                       e_row, e_row + p.stride(), outputs_of(op, p, g),
                       bias_partials == nullptr ? nullptr : bias_partials + task * p.stride());
  });
  finish(op, p, losses, bias_partials);
}

// Everything for one group, by one worker.
void whole_group(const SinkhornKnoppLoss& op, const Problem& p, int64_t g, int worker,
                 double* losses, float* bias_partials) {
  const int64_t stride = p.stride();
  const bool keep = p.rows * stride * static_cast<int64_t>(sizeof(float)) <= kKeptBytes;
  Carver carver = {nullptr};
  float *column_max, *column_scale, *column_sums, *row_scale, *partials, *e_block, *work, *kept;
  for (;;) {
    column_max = carver.take<float>(stride);
    column_scale = carver.take<float>(stride);
    column_sums = carver.take<float>(stride);
    row_scale = carver.take<float>(p.rows);
    partials = carver.take<float>(p.chunks * stride);
    e_block = carver.take<float>(kBlockRows * stride);
    work = carver.take<float>(stride);
    kept = carver.take<float>(keep ? p.rows * stride : 0);
    if (carver.base != nullptr) break;
    carver = {static_cast<char*>(worker_scratch(worker, carver.used))};
  }
  if (!keep) kept = nullptr;

  Group group = p.group(g, nullptr, nullptr, nullptr);
  p.kernels.max(group, 0, p.rows, false, column_max);
  group.column_max = column_max;
  group.row_scale = row_scale;
  for (int64_t iteration = 0; iteration < op.iterations; ++iteration) {
    group.column_scale = iteration == 0 ? nullptr : column_scale;
    for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
      p.kernels.sums(group, chunk, kept, e_block, partials + chunk * stride);
    }
    reduce(partials, p.chunks, stride, 0, p.columns, false, column_sums);
    update_columns(column_sums, p.columns, iteration == 0, column_scale);
  }
  group.column_scale = op.iterations == 0 ? nullptr : column_scale;
  const Outputs out = outputs_of(op, p, g);
  for (int64_t chunk = 0; chunk < p.chunks; ++chunk) {
    const int64_t task = g * p.chunks + chunk;
    losses[task] =
        p.kernels.loss(group, chunk, op.iterations == 0 ? nullptr : kept, e_block, work, out,
                       bias_partials == nullptr ? nullptr : bias_partials + task * stride);
  }
}

}  // namespace

void sinkhorn_column_max_cpu(const SinkhornColumnMax& op) {
  const Problem p(op.logits, op.groups, 1.0);
  float* partials = static_cast<float*>(
      op_scratch(static_cast<size_t>(p.groups * p.chunks * p.stride()) * sizeof(float)));
  phase_column_max(p, op.accumulate, op.column_max.as<float>(), partials);
}

void sinkhorn_column_sums_cpu(const SinkhornColumnSums& op) {
  const Problem p(op.logits, op.groups, op.target_temp);
  float* partials = static_cast<float*>(
      op_scratch(static_cast<size_t>(p.groups * p.chunks * p.stride()) * sizeof(float)));
  phase_column_sums(p, op.column_max.as<float>(), op.column_scale.as<float>(),
                    op.row_scale.as<float>(), op.accumulate, op.column_sums.as<float>(), partials);
}

void sinkhorn_update_columns_cpu(const SinkhornUpdateColumns& op) {
  phase_update_columns(op.column_sums.as<float>(), op.column_sums.size(), op.first,
                       op.column_scale.as<float>());
}

void clustering_loss_cpu(const ClusteringLoss& op) {
  const Problem p(op.logits, op.groups, op.target_temp);
  Carver carver = {nullptr};
  double* losses;
  float* bias_partials;
  for (;;) {
    losses = carver.take<double>(p.groups * p.chunks);
    bias_partials = carver.take<float>(op.grad_bias ? p.groups * p.chunks * p.stride() : 0);
    if (carver.base != nullptr) break;
    carver = {static_cast<char*>(op_scratch(carver.used))};
  }
  phase_loss(op, p, op.column_max.as<float>(), op.column_scale.as<float>(),
             op.row_scale.as<float>(), losses, op.grad_bias ? bias_partials : nullptr);
}

void sinkhorn_knopp_loss_cpu(const SinkhornKnoppLoss& op) {
  const Problem p(op.logits, op.groups, op.target_temp);
  const int64_t tasks = p.groups * p.chunks, state = p.groups * p.columns;
  // Threads only choose how the same sums are distributed.
  const bool group_tasks = p.chunks == 1 || p.groups >= 2 * thread_count();
  Carver carver = {nullptr};
  double* losses;
  float *bias_partials, *partials, *column_max, *column_scale, *column_sums, *row_scale;
  for (;;) {
    losses = carver.take<double>(tasks);
    bias_partials = carver.take<float>(op.grad_bias ? tasks * p.stride() : 0);
    partials = carver.take<float>(group_tasks ? 0 : tasks * p.stride());
    column_max = carver.take<float>(group_tasks ? 0 : state);
    column_scale = carver.take<float>(group_tasks ? 0 : state);
    column_sums = carver.take<float>(group_tasks ? 0 : state);
    row_scale = carver.take<float>(group_tasks ? 0 : op.logits.rows);
    if (carver.base != nullptr) break;
    carver = {static_cast<char*>(op_scratch(carver.used))};
  }
  if (!op.grad_bias) bias_partials = nullptr;

  if (group_tasks) {
    parallel_for(p.groups, [&](int64_t g, int worker) {
      whole_group(op, p, g, worker, losses, bias_partials);
    });
    finish(op, p, losses, bias_partials);
    return;
  }
  phase_column_max(p, false, column_max, partials);
  for (int64_t iteration = 0; iteration < op.iterations; ++iteration) {
    phase_column_sums(p, column_max, iteration == 0 ? nullptr : column_scale, row_scale, false,
                      column_sums, partials);
    phase_update_columns(column_sums, state, iteration == 0, column_scale);
  }
  phase_loss(op, p, column_max, op.iterations == 0 ? nullptr : column_scale, row_scale, losses,
             bias_partials);
}

}  // namespace capi::CAPI_ISA
