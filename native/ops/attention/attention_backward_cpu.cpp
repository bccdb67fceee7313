// Gradients: P is recomputed from lse, block of queries by block of queries (attention_cpu.h);
// those of keys and values gather over the blocks of a task.
#include "ops/attention/attention_cpu.h"
#include "ops/scratch_cpu.h"

namespace capi::CAPI_ISA {

using namespace attention;

namespace {

struct BackwardScratch {
  float *keys, *keys_transposed, *values_transposed, *grad_keys;
  float* grad_values;  // values on their way, then their gradient
  float *queries, *grad_out, *grad_queries, *p, *grad_scores, *lse, *delta;
};

BackwardScratch take_scratch(Carver& carver, const Sizes& s, int64_t block) {
  return {.keys = carver.take<float>(s.staged_keys * s.ld_channels),
          .keys_transposed = carver.take<float>(transposed_floats(s)),
          .values_transposed = carver.take<float>(transposed_floats(s)),
          .grad_keys = carver.take<float>(s.n_k * s.ld_channels),
          .grad_values = carver.take<float>(s.staged_keys * s.ld_channels),
          .queries = carver.take<float>(block * s.ld_channels),
          .grad_out = carver.take<float>(block * s.ld_channels),
          .grad_queries = carver.take<float>(block * s.ld_channels),
          .p = carver.take<float>(block * s.ld_keys),
          .grad_scores = carver.take<float>(block * s.ld_keys),
          .lse = carver.take<float>(block),
          .delta = carver.take<float>(block)};
}

template <typename T>
float dot(const float* a, const T* b, int64_t d) {
  Vec total = zero();
  for (int64_t i = 0; i < d; i += kLanes) {
    total += load_up_to(a + i, d - i) * load_up_to(b + i, d - i);
  }
  return sum(total);
}

template <typename T>
void backward_block(const AttentionBackward& op, const Sizes& s, const AngleTables& tables,
                    const BackwardScratch& scratch, int64_t place_image, int64_t image,
                    int64_t head, int64_t first, int64_t rows, float* grad_frequencies) {
  const int64_t row = image * s.n_q + first;
  const float* table = tables.q + row * 2 * s.d;
  stage_rotated_rows(op.rope, table, head_rows<T>(op.q, row, head, s.d), op.q.stride, rows, s.d,
                     s.scale * kLog2E, scratch.queries, s.ld_channels);
  stage_rows(head_rows<T>(op.grad_out, row, head, s.d), op.grad_out.stride, rows, s.d, 1.0f,
             scratch.grad_out, s.ld_channels);
  const float* lse = op.lse.as<float>() + (image * s.heads + head) * s.n_q + first;
  const T* out = head_rows<T>(op.out, row, head, s.d);
  for (int64_t r = 0; r < rows; ++r) {
    prefetch_row<0>(out + (r + kRowsAhead) * op.out.stride, s.d);
    scratch.lse[r] = lse[r] * kLog2E;
    scratch.delta[r] = dot(scratch.grad_out + r * s.ld_channels, out + r * op.out.stride, s.d);
  }

  multiply<false, TileOrder::kColumnsOutside>(
      scratch.queries, s.ld_channels, by_panels(scratch.keys_transposed, round_up(s.d, 8)), rows,
      s.key_vectors, s.d, [&](int64_t r, int64_t v, Vec score) {
        store(scratch.p + r * s.ld_keys + v * kLanes, exp2_softmax(score - scratch.lse[r]));
      });
  multiply<false, TileOrder::kColumnsOutside>(
      scratch.grad_out, s.ld_channels, by_panels(scratch.values_transposed, round_up(s.d, 8)), rows,
      s.key_vectors, s.d, [&](int64_t r, int64_t v, Vec grad_p) {
        const int64_t at = r * s.ld_keys + v * kLanes;
        store(scratch.grad_scores + at, load(scratch.p + at) * (grad_p - scratch.delta[r]));
      });

  const bool accumulate = first > 0;
  const auto add_to = [&](float* sums) {
    return [=, &s](int64_t r, int64_t v, Vec value) {
      float* to = sums + r * s.ld_channels + v * kLanes;
      store(to, accumulate ? load(to) + value : value);
    };
  };
  multiply<true, TileOrder::kRowsOutside>(scratch.p, s.ld_keys,
                                          by_rows(scratch.grad_out, s.ld_channels), s.n_k,
                                          s.channel_vectors, rows, add_to(scratch.grad_values));
  multiply<true, TileOrder::kRowsOutside>(scratch.grad_scores, s.ld_keys,
                                          by_rows(scratch.queries, s.ld_channels), s.n_k,
                                          s.channel_vectors, rows, add_to(scratch.grad_keys));
  multiply<false, TileOrder::kColumnsOutside>(
      scratch.grad_scores, s.ld_keys, by_rows(scratch.keys, s.ld_channels), rows, s.channel_vectors,
      s.n_k, [&](int64_t r, int64_t v, Vec value) {
        store(scratch.grad_queries + r * s.ld_channels + v * kLanes, value);
      });
  unstage_rotated_rows<T>(
      op.rope, table, scratch.grad_queries, s.ld_channels, rows, s.d, s.scale,
      head_rows<T>(op.grad_q, row, head, s.d), op.grad_q.stride,
      {grad_frequencies, op.q_coordinates.as<float>() + (place_image * s.n_q + first) * 2,
       head_rows<T>(op.q, row, head, s.d), op.q.stride});
}

template <typename T>
void backward_task(const AttentionBackward& op, const Sizes& s, const AngleTables& tables,
                   const Place& place, int64_t image, int64_t head, int worker,
                   float* grad_frequencies) {
  const int64_t block = block_rows(s.n_q, s.ld_keys);
  const BackwardScratch scratch =
      carve_worker_scratch(worker, [&](Carver& carver) { return take_scratch(carver, s, block); });

  const int64_t key_row = place.context * s.n_k;
  const float* table = tables.k + image * s.n_k * 2 * s.d;
  stage_rotated_rows(op.rope, table, head_rows<T>(op.k, key_row, head, s.d), op.k.stride, s.n_k,
                     s.d, 1.0f, scratch.keys, s.ld_channels);
  clear_rows(scratch.keys, s.ld_channels, s.n_k, s.staged_keys);
  transpose(scratch.keys, s.ld_channels, scratch.keys_transposed, s.staged_keys, s.d);
  stage_rows(head_rows<T>(op.v, key_row, head, s.d), op.v.stride, s.n_k, s.d, 1.0f,
             scratch.grad_values, s.ld_channels);
  clear_rows(scratch.grad_values, s.ld_channels, s.n_k, s.staged_keys);
  transpose(scratch.grad_values, s.ld_channels, scratch.values_transposed, s.staged_keys, s.d);

  for (int64_t first = 0; first < s.n_q; first += block) {
    backward_block<T>(op, s, tables, scratch, place.image, image, head, first,
                      s.n_q - first < block ? s.n_q - first : block, grad_frequencies);
  }
  // The staged queries carry scale * log2(e): the gradient of the keys needs scale.
  unstage_rotated_rows<T>(op.rope, table, scratch.grad_keys, s.ld_channels, s.n_k, s.d, kLn2,
                          head_rows<T>(op.grad_k, key_row, head, s.d), op.grad_k.stride,
                          {grad_frequencies, op.k_coordinates.as<float>() + place.image * s.n_k * 2,
                           head_rows<T>(op.k, key_row, head, s.d), op.k.stride});
  unstage_rows(scratch.grad_values, s.ld_channels, s.n_k, s.d, 1.0f,
               head_rows<T>(op.grad_v, key_row, head, s.d), op.grad_v.stride);
}

struct OpScratch {
  float *tables, *parts;
  char* used;  // which contexts some image attends to
};

template <typename T>
void backward(const AttentionBackward& op) {
  const Sizes s = sizes_of(op);
  // A part of the frequencies' gradient for each task, added up in their order.
  const int64_t part = op.grad_frequencies && op.rope != Rope::kNone ? 2 * s.d : 0;
  const OpScratch scratch = carve_op_scratch([&](Carver& carver) -> OpScratch {
    return {.tables = carver.take<float>(table_floats(op, s)),
            .parts = carver.take<float>(s.images * s.heads * part),
            .used = carver.take<char>(s.contexts)};
  });
  const AngleTables tables = fill_tables(op, s, scratch.tables);

  char* used = scratch.used;
  memset(used, 0, static_cast<size_t>(s.contexts));
  for (int64_t i = 0; i < s.images; ++i) {
    const Place place = place_of(op, s, i);
    if (place.valid()) used[place.context] = 1;
  }
  parallel_for(s.contexts * s.heads, [&](int64_t task, int) {
    const int64_t context = task / s.heads, head = task % s.heads;
    if (used[context]) return;
    fill_rows<T>(op.grad_k, context * s.n_k, head, s.n_k, s.d, 0.0f);
    fill_rows<T>(op.grad_v, context * s.n_k, head, s.n_k, s.d, 0.0f);
  });

  parallel_for(s.images * s.heads, [&](int64_t task, int worker) {
    const int64_t head = task % s.heads, image = task / s.heads;
    const Place place = place_of(op, s, image);
    float* grad_frequencies = part ? scratch.parts + task * part : nullptr;
    if (grad_frequencies) memset(grad_frequencies, 0, static_cast<size_t>(part) * sizeof(float));
    if (!place.valid()) {
      fill_rows<T>(op.grad_q, image * s.n_q, head, s.n_q, s.d, __builtin_nanf(""));
      return;
    }
    backward_task<T>(op, s, tables, place, image, head, worker, grad_frequencies);
  });

  if (!op.grad_frequencies) return;
  for (int64_t i = 0; i < 2 * s.d; ++i) {
    double total = 0;
    for (int64_t task = 0; part && task < s.images * s.heads; ++task) {
      total += static_cast<double>(scratch.parts[task * part + i]);
    }
    op.grad_frequencies.as<float>()[i] = static_cast<float>(total);
  }
}

}  // namespace

void attention_backward_cpu(const AttentionBackward& op) {
  with_floating(op.q.dtype, [&](auto element) { backward<decltype(element)>(op); });
}

}  // namespace capi::CAPI_ISA
