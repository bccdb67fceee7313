// Blocks of rows within a chunk, so that column vectors are read once for all of them.
#include "ops/clustering/sinkhorn_scaling_cpu.h"

#include "core/thread_pool.h"
#include "ops/clustering/chunk_sums_cpu.h"

namespace capi::CAPI_ISA {

namespace sinkhorn {

namespace {

inline float next_column_scale(float scale, float column_sum) {
  return column_sum == 0.0f ? 0.0f : scale / (scale * column_sum + kEps);
}

// into = max of `count` rows and, if accumulate, of what it holds.
template <typename T>
void max_of_rows(const T* rows, int64_t count, int64_t columns, bool accumulate, float* into) {
  for (int64_t i = 0; i < count; i += kBlockRows) {
    const bool first = i == 0 && !accumulate;
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
void add_chunk(const Group& group, int64_t chunk, float* kept, float* e_block, float* sums) {
  const int64_t stride = scratch_stride(group.columns);
  memset(sums, 0, static_cast<size_t>(stride) * sizeof(float));
  const int64_t end = group.chunk_end(chunk);
  int64_t row = chunk * kChunkRows;
  for (; row + kBlockRows <= end; row += kBlockRows) {
    add_rows<kBlockRows, T>(group, row, kept, e_block, stride, sums);
  }
  for (; row < end; ++row) add_rows<1, T>(group, row, kept, e_block, stride, sums);
}

}  // namespace

void max_of_columns(const Group& group, int64_t begin, int64_t end, float* into) {
  with_floating(group.dtype, [&](auto element) {
    max_of_rows(group.row<decltype(element)>(begin), end - begin, group.columns, false, into);
  });
}

void scaled_column_sums(const Group& group, int64_t chunk, float* kept, float* e_block,
                        float* sums) {
  with_floating(group.dtype, [&](auto element) {
    add_chunk<decltype(element)>(group, chunk, kept, e_block, sums);
  });
}

void update_column_scale(const float* sums, int64_t count, bool first, float* scale) {
  for (int64_t k = 0; k < count; ++k) {
    scale[k] = first ? 1.0f / (sums[k] + kEps) : next_column_scale(scale[k], sums[k]);
  }
}

void max_phase(const Groups& groups, bool accumulate, float* column_max, float* partials) {
  const int64_t chunks = groups.chunks, columns = groups.columns, stride = groups.stride();
  parallel_for(groups.all_chunks(), [&](int64_t task, int) {
    const int64_t chunk = task % chunks;
    const Group group = groups.group(task / chunks, {});
    max_of_columns(group, chunk * kChunkRows, group.chunk_end(chunk), partials + task * stride);
  });
  const int64_t stripes = ceil_div(columns, kStripe);
  parallel_for(groups.count * stripes, [&](int64_t task, int) {
    const int64_t g = task / stripes, begin = task % stripes * kStripe;
    const int64_t width = smaller(kStripe, columns - begin);
    float* into = column_max + g * columns + begin;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      max_of_rows(partials + (g * chunks + chunk) * stride + begin, 1, width,
                  accumulate || chunk > 0, into);
    }
  });
}

void sums_phase(const Groups& groups, const Vectors& vectors, bool accumulate, float* column_sums,
                float* partials) {
  const int64_t chunks = groups.chunks, stride = groups.stride();
  parallel_for(groups.all_chunks(), [&](int64_t task, int worker) {
    float* e_block = static_cast<float*>(
        worker_scratch(worker, static_cast<size_t>(kBlockRows * stride) * sizeof(float)));
    scaled_column_sums(groups.group(task / chunks, vectors), task % chunks, nullptr, e_block,
                       partials + task * stride);
  });
  add_partials_of_groups(partials, groups.count, chunks, groups.columns, accumulate, column_sums);
}

void update_phase(const float* sums, int64_t count, bool first, float* scale) {
  parallel_for(ceil_div(count, kStripe), [&](int64_t task, int) {
    const int64_t begin = task * kStripe;
    update_column_scale(sums + begin, smaller(kStripe, count - begin), first, scale + begin);
  });
}

}  // namespace sinkhorn

using namespace sinkhorn;

namespace {

float* chunk_partials(const Groups& groups) {
  return static_cast<float*>(
      op_scratch(static_cast<size_t>(groups.all_chunks() * groups.stride()) * sizeof(float)));
}

}  // namespace

void sinkhorn_column_max_cpu(const SinkhornColumnMax& op) {
  const Groups groups(op.logits, op.groups, 1.0);
  max_phase(groups, op.accumulate, op.column_max.as<float>(), chunk_partials(groups));
}

void sinkhorn_column_sums_cpu(const SinkhornColumnSums& op) {
  const Groups groups(op.logits, op.groups, op.target_temp);
  const Vectors vectors = {.column_max = op.column_max.as<float>(),
                           .column_scale = op.column_scale.as<float>(),
                           .row_scale = op.row_scale.as<float>()};
  sums_phase(groups, vectors, op.accumulate, op.column_sums.as<float>(), chunk_partials(groups));
}

void sinkhorn_update_columns_cpu(const SinkhornUpdateColumns& op) {
  update_phase(op.column_sums.as<float>(), op.column_sums.size(), op.first,
               op.column_scale.as<float>());
}

}  // namespace capi::CAPI_ISA
