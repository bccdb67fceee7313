// One task an (image, head). Rows are rotated once while they are staged in f32 in the worker's
// scratch, keys also transposed, so that scores are register-tile products with keys in the lanes.
// A block of queries meets all keys at once: softmax is exact and P never leaves the cache.
#include <math.h>
#include <string.h>

#include "core/simd.h"
#include "core/thread_pool.h"
#include "ops/attention/attention.h"
#include "ops/attention/rope_cpu.h"
#include "ops/attention/tile_cpu.h"

namespace capi::CAPI_ISA {
namespace {

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// 2^x for x <= 1, relative error 2e-7; below -125 it stays at 2^-125, nothing beside a row's
// largest term of 1. NaN stays NaN.
inline Vec exp2_softmax(Vec x) {
  const Vec clipped = vmax(broadcast(-125.0f), x);
  // Adding 1.5 * 2^23 rounds to an integer; 127 more leaves the exponent's bits at the bottom.
  const Vec shifted = clipped + 12583039.0f;
  const Vec f = clipped - (shifted - 12583039.0f);
  // Minimax with p(0) = 1, |f| <= 1/2.
  Vec p = broadcast(1.32647e-3f);
  p = p * f + 9.67151e-3f;
  p = p * f + 5.550734e-2f;
  p = p * f + 2.4022242e-1f;
  p = p * f + 6.9314698e-1f;
  p = p * f + 1.0f;
  IntVec bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  Vec scale;
  memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

// Lanes below count.
inline IntVec first_lanes(int64_t count) {
  IntVec mask;
  for (int i = 0; i < kLanes; ++i) mask[i] = i < count ? -1 : 0;
  return mask;
}

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// What both directions derive from their arguments.
struct Sizes {
  int64_t images, contexts, heads, n_q, n_k, d;
  int64_t coordinate_images;  // rows of coordinates are for this many images
  int64_t ld_channels, ld_keys, staged_keys, key_vectors, channel_vectors;
  float scale;
};

template <typename Op>
Sizes sizes_of(const Op& op) {
  Sizes s;
  s.heads = op.heads;
  s.n_q = op.n_q;
  s.n_k = op.n_k;
  s.d = op.q.cols / op.heads;
  s.images = op.q.rows / op.n_q;
  s.contexts = op.k.rows / op.n_k;
  s.coordinate_images = op.rope == Rope::kNone ? 0 : op.q_coordinates.rows / op.n_q;
  s.ld_channels = leading(s.d);
  s.ld_keys = leading(s.n_k);
  s.staged_keys = round_up(s.n_k, kLanes);
  s.key_vectors = s.staged_keys / kLanes;
  s.channel_vectors = (s.d + kLanes - 1) / kLanes;
  s.scale = 1.0f / sqrtf(static_cast<float>(s.d));
  return s;
}

// Where image i of q finds its coordinates and its context; -1 where an index is out of range.
struct Place {
  int64_t image, context;
  bool valid() const { return image >= 0 && context >= 0; }
};

template <typename Op>
Place place_of(const Op& op, const Sizes& s, int64_t i) {
  Place place{i, i};
  if (op.images) place.image = op.images.template as<int32_t>()[i];
  if (op.context_images) place.context = op.context_images.template as<int32_t>()[i];
  if (place.image < 0 || (op.rope != Rope::kNone && place.image >= s.coordinate_images))
    place.image = -1;
  if (place.context >= s.contexts) place.context = -1;
  return place;
}

// cos and sin of every token's angles, 2d floats a token, for the images of this call.
struct Tables {
  float* q;
  float* k;  // q where both have the same coordinates
  bool shared;
  size_t floats;
};

template <typename Op>
Tables plan_tables(const Op& op, const Sizes& s) {
  Tables tables{nullptr, nullptr, false, 0};
  if (op.rope == Rope::kNone) return tables;
  tables.shared = op.q_coordinates.data == op.k_coordinates.data && s.n_q == s.n_k;
  const int64_t tokens = s.images * (s.n_q + (tables.shared ? 0 : s.n_k));
  tables.floats = static_cast<size_t>(tokens * 2 * s.d);
  return tables;
}

template <typename Op>
void fill_tables(const Op& op, const Sizes& s, float* scratch, Tables* tables) {
  if (op.rope == Rope::kNone) return;
  tables->q = scratch;
  tables->k = tables->shared ? scratch : scratch + s.images * s.n_q * 2 * s.d;
  const Tables& to = *tables;
  parallel_for(s.images, [&](int64_t i, int) {
    const Place place = place_of(op, s, i);
    if (!place.valid()) return;
    const float* frequencies = op.frequencies.template as<float>();
    const auto fill = [&](const MatrixView& coordinates, int64_t n, float* table) {
      for (int64_t t = 0; t < n; ++t) {
        angles(coordinates.as<float>() + (place.image * n + t) * 2, frequencies, s.d,
               table + (i * n + t) * 2 * s.d);
      }
    };
    fill(op.q_coordinates, s.n_q, to.q);
    if (!to.shared) fill(op.k_coordinates, s.n_k, to.k);
  });
}

// Queries a block: about 96 KiB of scores, and blocks of nearly equal height.
int64_t block_rows(int64_t rows, int64_t ld_keys) {
  int64_t most = 24576 / ld_keys;
  if (most < 24) most = 24;
  if (most > 108) most = 108;
  const int64_t blocks = (rows + most - 1) / most;
  return round_up((rows + blocks - 1) / blocks, kTileRows);
}

// Hands out consecutive, cache-line aligned pieces of one scratch buffer; with a null base it only
// counts.
struct Carver {
  float* base;
  size_t used;
  float* take(int64_t floats) {
    float* piece = base + used;
    used += static_cast<size_t>(round_up(floats, 16));
    return piece;
  }
};

template <typename T>
const T* head_rows(const MatrixView& m, int64_t row, int64_t head, int64_t d) {
  return m.as<T>() + row * m.stride + head * d;
}
template <typename T>
T* head_rows_out(const MatrixView& m, int64_t row, int64_t head, int64_t d) {
  return m.as<T>() + row * m.stride + head * d;
}

template <typename T>
void fill_rows(const MatrixView& m, int64_t row, int64_t head, int64_t rows, int64_t d,
               float value) {
  T* to = head_rows_out<T>(m, row, head, d);
  for (int64_t r = 0; r < rows; ++r, to += m.stride) {
    for (int64_t i = 0; i < d; ++i) set(to + i, value);
  }
}

void clear_rows(float* rows, int64_t ld, int64_t first, int64_t last) {
  if (last > first)
    memset(rows + first * ld, 0, static_cast<size_t>((last - first) * ld) * sizeof(float));
}

// ---- Forward ----

struct ForwardScratch {
  float *values, *keys, *queries, *scores, *maxima, *inverse;
};

ForwardScratch carve_forward(Carver* carver, const Sizes& s, int64_t block) {
  ForwardScratch to;
  to.values = carver->take(s.staged_keys * s.ld_channels);  // keys on their way, then values
  to.keys = carver->take(round_up(s.d, 8) * round_up(s.n_k, kPanel));  // (d, n_k)
  to.queries = carver->take(block * s.ld_channels);
  to.scores = carver->take(block * s.ld_keys);
  to.maxima = carver->take(block * kLanes);
  to.inverse = carver->take(block);
  return to;
}

template <typename T>
void forward_block(const AttentionForward& op, const Sizes& s, const Tables& tables,
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

  T* out = head_rows_out<T>(op.out, row, head, s.d);
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
  Tables tables = plan_tables(op, s);
  if (tables.floats)
    fill_tables(op, s, static_cast<float*>(op_scratch(tables.floats * sizeof(float))), &tables);

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
    Carver carver{nullptr, 0};
    carve_forward(&carver, s, block);
    carver = {static_cast<float*>(worker_scratch(worker, carver.used * sizeof(float))), 0};
    const ForwardScratch scratch = carve_forward(&carver, s, block);

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

// ---- Backward ----

struct BackwardScratch {
  float *keys, *keys_transposed, *values_transposed, *grad_keys, *grad_values;
  float *queries, *grad_out, *grad_queries, *p, *grad_scores, *lse, *delta;
};

BackwardScratch carve_backward(Carver* carver, const Sizes& s, int64_t block) {
  BackwardScratch to;
  to.keys = carver->take(s.staged_keys * s.ld_channels);
  to.keys_transposed = carver->take(round_up(s.d, 8) * round_up(s.n_k, kPanel));
  to.values_transposed = carver->take(round_up(s.d, 8) * round_up(s.n_k, kPanel));
  to.grad_keys = carver->take(s.n_k * s.ld_channels);
  to.grad_values =
      carver->take(s.staged_keys * s.ld_channels);  // values on their way, then their gradient
  to.queries = carver->take(block * s.ld_channels);
  to.grad_out = carver->take(block * s.ld_channels);
  to.grad_queries = carver->take(block * s.ld_channels);
  to.p = carver->take(block * s.ld_keys);
  to.grad_scores = carver->take(block * s.ld_keys);
  to.lse = carver->take(block);
  to.delta = carver->take(block);
  return to;
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
void backward_block(const AttentionBackward& op, const Sizes& s, const Tables& tables,
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
      head_rows_out<T>(op.grad_q, row, head, s.d), op.grad_q.stride,
      {grad_frequencies, op.q_coordinates.as<float>() + (place_image * s.n_q + first) * 2,
       head_rows<T>(op.q, row, head, s.d), op.q.stride});
}

template <typename T>
void backward_task(const AttentionBackward& op, const Sizes& s, const Tables& tables,
                   const Place& place, int64_t image, int64_t head, int worker,
                   float* grad_frequencies) {
  const int64_t block = block_rows(s.n_q, s.ld_keys);
  Carver carver{nullptr, 0};
  carve_backward(&carver, s, block);
  carver = {static_cast<float*>(worker_scratch(worker, carver.used * sizeof(float))), 0};
  const BackwardScratch scratch = carve_backward(&carver, s, block);

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
                          head_rows_out<T>(op.grad_k, key_row, head, s.d), op.grad_k.stride,
                          {grad_frequencies, op.k_coordinates.as<float>() + place.image * s.n_k * 2,
                           head_rows<T>(op.k, key_row, head, s.d), op.k.stride});
  unstage_rows(scratch.grad_values, s.ld_channels, s.n_k, s.d, 1.0f,
               head_rows_out<T>(op.grad_v, key_row, head, s.d), op.grad_v.stride);
}

template <typename T>
void backward(const AttentionBackward& op) {
  const Sizes s = sizes_of(op);
  Tables tables = plan_tables(op, s);
  // A part of the frequencies' gradient for each task, added up in their order.
  const int64_t part = op.grad_frequencies && op.rope != Rope::kNone ? 2 * s.d : 0;
  const size_t table_floats =
      static_cast<size_t>(round_up(static_cast<int64_t>(tables.floats), 16));
  const size_t part_floats = static_cast<size_t>(s.images * s.heads * part);
  char* memory = static_cast<char*>(
      op_scratch((table_floats + part_floats) * sizeof(float) + static_cast<size_t>(s.contexts)));
  float* parts = reinterpret_cast<float*>(memory) + table_floats;
  char* used = reinterpret_cast<char*>(parts + part_floats);
  fill_tables(op, s, reinterpret_cast<float*>(memory), &tables);

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
    float* grad_frequencies = part ? parts + task * part : nullptr;
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
      total += static_cast<double>(parts[task * part + i]);
    }
    op.grad_frequencies.as<float>()[i] = static_cast<float>(total);
  }
}

}  // namespace

void attention_forward_cpu(const AttentionForward& op) {
  with_floating(op.q.dtype, [&](auto element) { forward<decltype(element)>(op); });
}

void attention_backward_cpu(const AttentionBackward& op) {
  with_floating(op.q.dtype, [&](auto element) { backward<decltype(element)>(op); });
}

}  // namespace capi::CAPI_ISA
