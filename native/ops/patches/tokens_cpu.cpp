#include "ops/patches/tokens.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskCols = 4 * kLanes;
constexpr int64_t kTaskElements = 1 << 14;

// Of patch i of the batch, `count` an image.
int64_t position_of(const MatrixView& indices, int64_t i, int64_t count, int64_t positions) {
  return capi::position_of(indices ? indices.as<int32_t>()[i] : i % count, positions);
}

// y = x (+ position)
template <typename X, typename P, typename Y>
void write_row(const X* x, const P* position, Y* y, int64_t dim) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    const int64_t left = dim - i;
    Vec v = load_up_to(x + i, left);
    if (position) v += load_up_to(position + i, left);
    store_up_to(y + i, v, left);
  }
}

template <typename T, typename P>
void forward(const TokensForward& op) {
  const int64_t dim = op.tokens.cols;
  const int64_t length = op.n_registers + op.n_visible + op.n_masked;
  const int64_t rows_a_task = dim < kTaskElements ? kTaskElements / dim : 1;
  const int64_t tasks = (op.tokens.rows + rows_a_task - 1) / rows_a_task;
  const auto position = [&](const MatrixView& indices, int64_t i, int64_t count) -> const P* {
    if (!op.positions) return nullptr;
    return op.positions.as<P>() + position_of(indices, i, count, op.positions.rows) * dim;
  };
  parallel_for(tasks, [&](int64_t task, int) {
    const int64_t end =
        (task + 1) * rows_a_task < op.tokens.rows ? (task + 1) * rows_a_task : op.tokens.rows;
    for (int64_t row = task * rows_a_task; row < end; ++row) {
      T* to = op.tokens.as<T>() + row * op.tokens.stride;
      const int64_t image = row / length, register_number = row % length;
      const int64_t v = register_number - op.n_registers, m = v - op.n_visible;
      const P* none = nullptr;
      if (v < 0) {
        write_row(op.registers.as<P>() + register_number * dim, none, to, dim);
      } else if (m < 0) {
        const int64_t patch = image * op.n_visible + v;
        write_row(op.patches.as<T>() + patch * op.patches.stride,
                  position(op.visible, patch, op.n_visible), to, dim);
      } else {
        const int64_t patch = image * op.n_masked + m;
        write_row(op.mask_token.as<P>(), position(op.masked, patch, op.n_masked), to, dim);
      }
    }
  });
}

// The columns [first, first + kTaskCols) of a row, as vectors.
struct Columns {
  Vec v[kTaskCols / kLanes] = {};

  template <typename T>
  static Columns load(const T* row, int64_t width) {
    Columns c;
    for (int i = 0; i * kLanes < width; ++i)
      c.v[i] = load_up_to(row + i * kLanes, width - i * kLanes);
    return c;
  }
  void store(float* row, int64_t width) const {
    for (int i = 0; i * kLanes < width; ++i)
      store_up_to(row + i * kLanes, v[i], width - i * kLanes);
  }
  void add(const Columns& other) {
    for (int i = 0; i < kTaskCols / kLanes; ++i) v[i] += other.v[i];
  }
};

// Sum over (image, token) of `count` tokens an image from `offset` on, `rows` in all: in two
// levels.
template <typename T>
Columns sum_tokens(const T* grad, int64_t stride, int64_t length, int64_t batch, int64_t offset,
                   int64_t count, int64_t width) {
  Columns total, partial;
  int64_t in_partial = 0;
  for (int64_t image = 0; image < batch; ++image) {
    for (int64_t i = 0; i < count; ++i) {
      partial.add(Columns::load(grad + (image * length + offset + i) * stride, width));
      if (++in_partial == kTokenRowsInSum) {
        total.add(partial);
        partial = Columns();
        in_partial = 0;
      }
    }
  }
  total.add(partial);
  return total;
}

template <typename T>
void add_to_positions(const TokensBackward& op, const T* grad, int64_t first, int64_t width) {
  const int64_t dim = op.grad_tokens.cols, positions = op.grad_positions.rows;
  const int64_t length = op.n_registers + op.n_visible + op.n_masked;
  float* out = op.grad_positions.as<float>() + first;
  for (int64_t position = 0; position < positions; ++position)
    Columns().store(out + position * dim, width);
  for (int64_t image = 0; image < op.batch; ++image) {
    for (int64_t i = 0; i < op.n_visible + op.n_masked; ++i) {
      const int64_t m = i - op.n_visible;
      const int64_t position =
          m < 0 ? position_of(op.visible, image * op.n_visible + i, op.n_visible, positions)
                : position_of(op.masked, image * op.n_masked + m, op.n_masked, positions);
      Columns sum = Columns::load(out + position * dim, width);
      const int64_t row = image * length + op.n_registers + i;
      sum.add(Columns::load(grad + row * op.grad_tokens.stride, width));
      sum.store(out + position * dim, width);
    }
  }
}

template <typename T>
void backward_parameters(const TokensBackward& op) {
  const int64_t dim = op.grad_tokens.cols, stride = op.grad_tokens.stride;
  const int64_t length = op.n_registers + op.n_visible + op.n_masked;
  parallel_for((dim + kTaskCols - 1) / kTaskCols, [&](int64_t task, int) {
    const int64_t first = task * kTaskCols;
    const int64_t width = dim - first < kTaskCols ? dim - first : kTaskCols;
    const T* grad = op.grad_tokens.as<T>() + first;
    if (op.grad_registers) {
      for (int64_t r = 0; r < op.n_registers; ++r) {
        sum_tokens(grad, stride, length, op.batch, r, 1, width)
            .store(op.grad_registers.as<float>() + r * dim + first, width);
      }
    }
    if (op.grad_mask_token) {
      sum_tokens(grad, stride, length, op.batch, op.n_registers + op.n_visible, op.n_masked, width)
          .store(op.grad_mask_token.as<float>() + first, width);
    }
    if (op.grad_positions) add_to_positions(op, grad, first, width);
  });
}

template <typename T>
void backward_patches(const TokensBackward& op) {
  const int64_t length = op.n_registers + op.n_visible + op.n_masked;
  parallel_for(op.batch, [&](int64_t image, int) {
    for (int64_t v = 0; v < op.n_visible; ++v) {
      memcpy(op.grad_patches.as<T>() + (image * op.n_visible + v) * op.grad_patches.stride,
             op.grad_tokens.as<T>() + (image * length + op.n_registers + v) * op.grad_tokens.stride,
             static_cast<size_t>(op.grad_tokens.cols) * sizeof(T));
    }
  });
}

}  // namespace

void tokens_forward_cpu(const TokensForward& op) {
  const MatrixView& parameter = op.registers    ? op.registers
                                : op.mask_token ? op.mask_token
                                                : op.positions;
  with_floating(op.tokens.dtype, [&](auto token) {
    with_floating(parameter.dtype, [&](auto p) { forward<decltype(token), decltype(p)>(op); });
  });
}

void tokens_backward_cpu(const TokensBackward& op) {
  with_floating(op.grad_tokens.dtype, [&](auto type) {
    using T = decltype(type);
    if (op.grad_patches) backward_patches<T>(op);
    if (op.grad_registers || op.grad_mask_token || op.grad_positions) backward_parameters<T>(op);
  });
}

}  // namespace capi::CAPI_ISA
