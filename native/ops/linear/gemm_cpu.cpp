// GEMM in three levels. All of op(B) is packed once into panels of kTileCols columns (shared by
// every thread); the tiles of C are split into tasks; a task walks blocks of kBlockRows rows x
// kBlockWords words of k, whose part of A stays in L2 while a panel of B in L1 meets all of it. A
// is read in place where its rows already are words.
#include "ops/linear/gemm.h"

#include "core/thread_pool.h"
#include "ops/linear/gemm_epilogue.h"
#include "ops/linear/gemm_kernel.h"
#include "ops/linear/gemm_pack.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kBlockPanels = 96 / kTileRows;    // 96 rows: 147 KB of A in an L2 of 1 MB
constexpr int64_t kMaxTaskCols = 1024 / kTileCols;  // bounds the partial sums of a task: 384 KB
constexpr int64_t kMaxPackedBytes = int64_t{16} << 20;
// A block of B up to this size is still in L2 when the next rows come; a larger one is fetched
// ahead.
constexpr int64_t kStaysInL2 = 640 << 10;
// One cache line more between panels, or those written side by side share a set of L1.
constexpr int64_t kSetWords = 16;
// Rows this far apart fall into the same set of L1 and push each other out.
constexpr int64_t kAliasBytes = 2048;

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

typedef void (*FinishTile)(const Gemm&, const float*, int64_t, int64_t, int, int);

// Everything about one product that its tasks share.
struct Plan {
  const Gemm* op;
  Operand a, b;
  int64_t depth;        // k
  int64_t words;        // of k
  int64_t block_words;  // of k at a time
  int64_t row_panels;
  int64_t first_col_panel, col_panels;  // those packed now
  int64_t row_tasks, col_tasks;
  bool in_place;  // A needs no packing
  bool plain;     // no epilogue: tiles go straight to C
  FinishTile finish;
  int64_t panel_bytes;  // of a panel of packed B
  char* packed_b;
};

// Splits the tiles so that threads finish together. The split decides who computes what, never how.
void split_tasks(Plan* plan) {
  const int64_t rows = plan->row_panels, cols = plan->col_panels;
  const int64_t threads = thread_count();
  // In units of one tile over all of k: what it costs to pack a panel of A, to bring a panel of B
  // into L1 again for another block of rows, and to start a task.
  const double pack = plan->in_place ? 0.1 : 0.5, reload = 0.5, start = 0.5;
  const double waiting =
      threads > 1 ? 0.3 : 0.0;  // of the last task, while the others have finished
  double best = 0.0;
  plan->row_tasks = plan->col_tasks = 0;
  for (int64_t col_tasks = up(cols, kMaxTaskCols); col_tasks <= cols; ++col_tasks) {
    for (int64_t rounds = 1; rounds <= 8; ++rounds) {
      const int64_t row_tasks = least(up(rounds * threads, col_tasks), rows);
      const int64_t task_rows = up(rows, row_tasks), task_cols = up(cols, col_tasks);
      const double task =
          task_rows * (task_cols + pack) + up(task_rows, kBlockPanels) * task_cols * reload + start;
      const double cost = (up(row_tasks * col_tasks, threads) + waiting) * task;
      if (plan->row_tasks == 0 || cost < best) {
        best = cost;
        plan->row_tasks = row_tasks;
        plan->col_tasks = col_tasks;
      }
    }
    if (col_tasks >= 4 * threads + up(cols, kMaxTaskCols)) break;
  }
}

template <typename Kind, typename Source>
void pack_b(const Plan& plan) {
  // Runs of 1 KB in memory, or as many words of a line.
  constexpr int64_t kPanelsATask = 16, kWordsATask = 256;
  const int64_t distance = plan.panel_bytes / kWordBytes;
  const int64_t groups = up(plan.col_panels, kPanelsATask), parts = up(plan.words, kWordsATask);
  parallel_for(groups * parts, [&](int64_t task, int) {
    const int64_t first = plan.col_panels * (task / parts) / groups;
    const int64_t panels = plan.col_panels * (task / parts + 1) / groups - first;
    const int64_t word = task % parts * kWordsATask, from = word * Kind::kPerWord;
    interleave<Source, kTileCols>(
        plan.b, (plan.first_col_panel + first) * kTileCols, from,
        least(kWordsATask * Kind::kPerWord, plan.depth - from), panels, distance,
        reinterpret_cast<uint32_t*>(plan.packed_b) + first * distance + word * kTileCols);
  });
}

// The rows of A of one block, as the innermost loop reads them.
struct BlockOfA {
  const char* whole;  // panels with all their rows
  int64_t panel_bytes;
  const char* last;  // the last panel, which may be short
  int64_t whole_stride, last_stride;
};

template <typename Source>
BlockOfA block_of_a(const Plan& plan, int64_t first_panel, int64_t panels, int64_t word,
                    int64_t words, uint32_t* scratch) {
  constexpr int64_t kPer = Source::kPerWord;
  const int64_t from = word * kPer, depth = least(words * kPer, plan.depth - from);
  const int64_t line = first_panel * kTileRows;
  char* const bytes = reinterpret_cast<char*>(scratch);
  if (!plan.a.lines_are_rows) {
    const int64_t distance = words * kTileRows + kSetWords, panel_bytes = distance * kWordBytes;
    interleave<Source, kTileRows>(plan.a, line, from, depth, panels, distance, scratch);
    return {bytes, panel_bytes, bytes + (panels - 1) * panel_bytes, 0, 0};
  }
  const int64_t stride = (words + 15) / 16 * 16 + kSetWords;  // never a power of two
  const int64_t stride_bytes = stride * kWordBytes;
  if (plan.in_place) {
    const int64_t element = kWordBytes / kPer, memory_stride = plan.a.stride * element;
    const char* const whole = plan.a.data + line * memory_stride + from * element;
    const char* last = whole + (panels - 1) * kTileRows * memory_stride;
    int64_t last_stride = memory_stride;
    if (line + panels * kTileRows > plan.a.lines) {
      copy_rows<Source>(plan.a, line + (panels - 1) * kTileRows, from, depth, kTileRows, stride,
                        scratch);
      last = bytes;
      last_stride = stride_bytes;
    }
    return {whole, kTileRows * memory_stride, last, memory_stride, last_stride};
  }
  copy_rows<Source>(plan.a, line, from, depth, panels * kTileRows, stride, scratch);
  const int64_t panel_bytes = kTileRows * stride_bytes;
  return {bytes, panel_bytes, bytes + (panels - 1) * panel_bytes, stride_bytes, stride_bytes};
}

// Walks the part of a transposed A that the next block of k will pack, and asks for its cache lines
// a few at a time while tiles are computed: rows are too far apart for the hardware to foresee
// them.
struct NextBlock {
  const char* row = nullptr;
  int64_t stride_bytes = 0, row_bytes = 0, rows = 0, column = 0;

  void fetch(int64_t lines) {
    for (; lines > 0 && rows > 0; --lines) {
      __builtin_prefetch(row + column, 0, 2);
      column += 64;
      if (column < row_bytes) continue;
      column = 0;
      row += stride_bytes;
      --rows;
    }
  }
};

template <typename Source>
NextBlock next_block_of_a(const Plan& plan, int64_t first_panel, int64_t panels, int64_t word) {
  if (plan.a.lines_are_rows || word >= plan.words) return {};
  const int64_t element = sizeof(typename Source::Element);
  const int64_t from = word * Source::kPerWord;
  const int64_t line = first_panel * kTileRows;
  return {plan.a.data + (from * plan.a.stride + line) * element, plan.a.stride * element,
          least(panels * kTileRows, plan.a.lines - line) * element,
          least(plan.block_words * Source::kPerWord, plan.depth - from), 0};
}

struct TaskScratch {
  uint32_t* a;
  float* partial;  // sums of earlier blocks of k, a tile after the other
  float* tile;
};

TaskScratch task_scratch(int worker, int64_t block_words, int64_t col_panels) {
  const int64_t a_words = kBlockPanels * kTileRows * ((block_words + 15) / 16 * 16 + kSetWords);
  const int64_t partials = kBlockPanels * col_panels * kTileSize;
  uint32_t* const a = static_cast<uint32_t*>(
      worker_scratch(worker, static_cast<size_t>((a_words + partials + kTileSize) * kWordBytes)));
  float* const tile = reinterpret_cast<float*>(a + a_words);
  return {a, tile + kTileSize, tile};
}

// Panels [first_row, first_row + rows) x [first_col, first_col + cols) of C: at most kBlockPanels
// panels of rows.
template <typename Kind, typename Source, bool kInterleaved>
void multiply_block(const Plan& plan, int64_t first_row, int64_t rows, int64_t first_col,
                    int64_t cols, const TaskScratch& scratch) {
  const Gemm& op = *plan.op;
  int64_t word = 0;
  do {
    const int64_t words = least(plan.block_words, plan.words - word);
    const bool first = word == 0, last = word + words >= plan.words;
    const BlockOfA a = block_of_a<Source>(plan, first_row, rows, word, words, scratch.a);
    NextBlock next = next_block_of_a<Source>(plan, first_row, rows, word + words);
    const int64_t next_lines = up(next.rows * up(next.row_bytes, 64), rows * cols);
    const int64_t block_bytes = words * kTileCols * kWordBytes;
    const int64_t b_lines = cols * block_bytes < kStaysInL2 ? 0 : up(block_bytes / 64, rows);
    for (int64_t col = 0; col < cols; ++col) {
      const char* const b =
          plan.packed_b + (first_col + col) * plan.panel_bytes + word * kTileCols * kWordBytes;
      const int64_t c_col = (plan.first_col_panel + first_col + col) * kTileCols;
      const int c_cols = static_cast<int>(least(kTileCols, op.c.cols - c_col));
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t c_row = (first_row + row) * kTileRows;
        const int c_rows = static_cast<int>(least(kTileRows, op.c.rows - c_row));
        float* const partial = scratch.partial + (col * rows + row) * kTileSize;
        const bool straight = last && plan.plain && c_rows == kTileRows && c_cols == kTileCols;
        float* const out = straight ? op.c.as<float>() + c_row * op.c.stride + c_col
                           : last   ? scratch.tile
                                    : partial;
        const bool last_row = row + 1 == rows;
        next.fetch(next_lines);
        // The next panel of B comes from L3 otherwise; past the last one this asks for nothing that
        // exists.
        for (int64_t line = 0; line < b_lines; ++line) {
          __builtin_prefetch(b + plan.panel_bytes + (row * b_lines + line) * 64, 0, 2);
        }
        tile_product<Kind, kInterleaved>(words, last_row ? a.last : a.whole + row * a.panel_bytes,
                                         last_row ? a.last_stride : a.whole_stride, b,
                                         first ? nullptr : partial, out,
                                         straight ? op.c.stride : kTileCols);
        if (last && !straight) plan.finish(op, scratch.tile, c_row, c_col, c_rows, c_cols);
      }
    }
    word += words;
  } while (word < plan.words);
}

template <typename Kind, typename Source, bool kInterleaved>
void multiply(const Plan& plan) {
  parallel_for(plan.row_tasks * plan.col_tasks, [&](int64_t task, int worker) {
    const int64_t row_task = task / plan.col_tasks, col_task = task % plan.col_tasks;
    const int64_t first_row = plan.row_panels * row_task / plan.row_tasks;
    const int64_t end_row = plan.row_panels * (row_task + 1) / plan.row_tasks;
    const int64_t first_col = plan.col_panels * col_task / plan.col_tasks;
    const int64_t cols = plan.col_panels * (col_task + 1) / plan.col_tasks - first_col;
    const TaskScratch scratch = task_scratch(worker, plan.block_words, cols);
    const int64_t blocks = up(end_row - first_row, kBlockPanels);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t row = first_row + (end_row - first_row) * block / blocks;
      const int64_t end = first_row + (end_row - first_row) * (block + 1) / blocks;
      multiply_block<Kind, Source, kInterleaved>(plan, row, end - row, first_col, cols, scratch);
    }
  });
}

template <typename T>
FinishTile finish_for(GeluEpilogue gelu) {
  switch (gelu) {
    case GeluEpilogue::kNone:
      return finish_tile<T, GeluEpilogue::kNone>;
    case GeluEpilogue::kForward:
      return finish_tile<T, GeluEpilogue::kForward>;
    case GeluEpilogue::kBackward:
      return finish_tile<T, GeluEpilogue::kBackward>;
  }
  return nullptr;
}

template <typename Kind, typename Source>
void gemm_of(const Gemm& op) {
  const int64_t depth = op.transpose_a ? op.a.rows : op.a.cols;
  Plan plan = {};
  plan.op = &op;
  const bool narrow_in = op.a.dtype == Dtype::kBF16;
  plan.a = {op.a.as<char>(), op.c.rows, op.a.stride, !op.transpose_a};
  plan.b = {op.b.as<char>(), op.c.cols, op.b.stride, op.transpose_b};
  plan.depth = depth;
  plan.words = up(depth, Kind::kPerWord);
  plan.block_words = depth == 0 ? 1 : up(plan.words, up(plan.words, kBlockWords));
  plan.row_panels = up(op.c.rows, kTileRows);
  const bool words_in_memory = Kind::kPerWord == (narrow_in ? 2 : 1) && depth % Kind::kPerWord == 0;
  plan.in_place = plan.a.lines_are_rows && words_in_memory &&
                  plan.a.stride * kWordBytes / Kind::kPerWord % kAliasBytes != 0;
  plan.plain = op.c.dtype == Dtype::kF32 && op.alpha == 1.0f && !op.accumulate && !op.bias &&
               !op.residual && op.gelu == GeluEpilogue::kNone;
  plan.finish = op.c.dtype == Dtype::kF32 ? finish_for<float>(op.gelu) : finish_for<bf16>(op.gelu);

  plan.panel_bytes = (plan.words * kTileCols + kSetWords) * kWordBytes;
  const int64_t all_cols = up(op.c.cols, kTileCols);
  const int64_t most = kMaxPackedBytes / plan.panel_bytes;
  const int64_t passes = up(all_cols, most < 1 ? 1 : most);
  for (int64_t pass = 0; pass < passes; ++pass) {
    plan.first_col_panel = all_cols * pass / passes;
    plan.col_panels = all_cols * (pass + 1) / passes - plan.first_col_panel;
    plan.packed_b =
        static_cast<char*>(op_scratch(static_cast<size_t>(plan.col_panels * plan.panel_bytes)));
    split_tasks(&plan);
    pack_b<Kind, Source>(plan);
    if (plan.a.lines_are_rows) {
      multiply<Kind, Source, false>(plan);
    } else {
      multiply<Kind, Source, true>(plan);
    }
  }
}

}  // namespace

void gemm_cpu(const Gemm& op) {
  if (op.c.size() == 0) return;
  if (op.a.dtype == Dtype::kF32) {
    gemm_of<FloatWords, FloatsOf<float>>(op);
    return;
  }
#if defined(CAPI_BF16_DOT)
  gemm_of<PairWords, PairsOf>(op);
#else
  gemm_of<FloatWords, FloatsOf<bf16>>(op);
#endif
}

}  // namespace capi::CAPI_ISA
