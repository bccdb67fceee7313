// out and lse, block of queries by block of queries (attention_cpu.h).
#include "ops/attention/attention_cpu.h"
#include "ops/scratch_cpu.h"

namespace capi::CAPI_ISA {

using namespace attention;

namespace {

// Lanes below count.
inline IntVec first_lanes(int64_t count) {
  IntVec mask;
  for (int i = 0; i < kLanes; ++i) mask[i] = i < count ? -1 : 0;
  return mask;
}

struct ForwardScratch {
  float* values;  // keys on their way, then values
  float* keys;    // (d, n_k), by panels
  float *queries, *scores, *maxima, *inverse;
};

ForwardScratch take_scratch(Carver& carver, const Sizes& s, int64_t block) {
  return {.values = carver.take<float>(s.staged_keys * s.ld_channels),
          .keys = carver.take<float>(transposed_floats(s)),
          .queries = carver.take<float>(block * s.ld_channels),
          .scores = carver.take<float>(block * s.ld_keys),
          .maxima = carver.take<float>(block * kLanes),
          .inverse = carver.take<float>(block)};
}

template <typename T>
void forward_block(const AttentionForward& op, const Sizes& s, const AngleTables& tables,
                   const ForwardScratch& scratch, int64_t image, int64_t head, int64_t first,
                   int64_t rows) {
  const int64_t row = image * s.n_q + first;
  stage_rotated_rows(op.rope, tables.q + row * 2 * s.d, head_rows<T>(op.q, row, head, s.d),
                     op.q.stride, rows, s.d, s.scale * kLog2E, scratch.queries, s.ld_channels);

  for (int64_t i = 0; i < rows * kLanes; ++i) scratch.maxima[i] = -__builtin_inff();
  const int64_t last = s.key_vectors - 1;
  const IntVec tail = first_lanes(s.n_k - last * kLanes);
  multiply<false, TileOrder::kColumnsOutside>(
      scratch.queries, s.ld_channels, by_panels(scratch.keys, round_up(s.d, 8)), rows,
      s.key_vectors, s.d, [&](int64_t r, int64_t v, Vec score) {
        store(scratch.scores + r * s.ld_keys + v * kLanes, score);
        if (v == last) score = select(tail, score, broadcast(-__builtin_inff()));
        float* maximum = scratch.maxima + r * kLanes;
        store(maximum, vmax(load(maximum), score));
      });

  float* lse = op.lse ? op.lse.as<float>() + (image * s.heads + head) * s.n_q + first : nullptr;
  for (int64_t r = 0; r < rows; ++r) {
    float* scores = scratch.scores + r * s.ld_keys;
    const float maximum = max_lane(load(scratch.maxima + r * kLanes));
    const Vec shift = broadcast(maximum);
    Vec total = zero();
    for (int64_t v = 0; v < last; ++v) {
      const Vec p = exp2_softmax(load(scores + v * kLanes) - shift);
      store(scores + v * kLanes, p);
      total += p;
    }
    const Vec p = select(tail, exp2_softmax(load(scores + last * kLanes) - shift), zero());
    store(scores + last * kLanes, p);
    const float denominator = sum(total + p);
    scratch.inverse[r] = 1.0f / denominator;
    if (lse) lse[r] = maximum * kLn2 + logf(denominator);
  }

  T* out = head_rows<T>(op.out, row, head, s.d);
  multiply<false, TileOrder::kColumnsOutside>(
      scratch.scores, s.ld_keys, by_rows(scratch.values, s.ld_channels), rows, s.channel_vectors,
      s.n_k, [&](int64_t r, int64_t v, Vec value) {
        store_up_to(out + r * op.out.stride + v * kLanes, value * scratch.inverse[r],
                    s.d - v * kLanes);
      });
}

template <typename T>
void forward(const AttentionForward& op) {
  const Sizes s = sizes_of(op);
  const AngleTables tables = fill_tables(op, s, carve_op_scratch([&](Carver& carver) {
                                           return carver.take<float>(table_floats(op, s));
                                         }));

  // Few images: the queries of one are shared out too, and each task stages the keys again.
  const int64_t pairs = s.images * s.heads;
  int64_t chunks = 1;
  while (pairs * chunks < 32 && s.n_q / (2 * chunks) >= 128) chunks *= 2;
  const int64_t chunk_rows = (s.n_q + chunks - 1) / chunks;
  const int64_t block = block_rows(chunk_rows, s.ld_keys);

  parallel_for(pairs * chunks, [&](int64_t task, int worker) {
    const int64_t chunk = task % chunks, head = task / chunks % s.heads,
                  image = task / chunks / s.heads;
    const int64_t begin = chunk * chunk_rows;
    const int64_t end = begin + chunk_rows < s.n_q ? begin + chunk_rows : s.n_q;
    const Place place = place_of(op, s, image);
    if (!place.valid()) {
      fill_rows<T>(op.out, image * s.n_q + begin, head, end - begin, s.d, __builtin_nanf(""));
      float* lse = op.lse ? op.lse.as<float>() + (image * s.heads + head) * s.n_q : nullptr;
      for (int64_t r = begin; lse && r < end; ++r) lse[r] = __builtin_nanf("");
      return;
    }
    const ForwardScratch scratch = carve_worker_scratch(
        worker, [&](Carver& carver) { return take_scratch(carver, s, block); });

    const int64_t key_row = place.context * s.n_k;
    stage_rotated_rows(op.rope, tables.k + image * s.n_k * 2 * s.d,
                       head_rows<T>(op.k, key_row, head, s.d), op.k.stride, s.n_k, s.d, 1.0f,
                       scratch.values, s.ld_channels);
    clear_rows(scratch.values, s.ld_channels, s.n_k, s.staged_keys);
    transpose(scratch.values, s.ld_channels, scratch.keys, s.staged_keys, s.d);
    stage_rows(head_rows<T>(op.v, key_row, head, s.d), op.v.stride, s.n_k, s.d, 1.0f,
               scratch.values, s.ld_channels);
    for (int64_t first = begin; first < end; first += block) {
      forward_block<T>(op, s, tables, scratch, image, head, first,
                       end - first < block ? end - first : block);
    }
  });
}

}  // namespace

void attention_forward_cpu(const AttentionForward& op) {
  with_floating(op.q.dtype, [&](auto element) { forward<decltype(element)>(op); });
}

}  // namespace capi::CAPI_ISA
