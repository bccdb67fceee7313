#include "ops/residual/residual.h"

#include "core/simd.h"
#include "core/thread_pool.h"

namespace capi::CAPI_ISA {

namespace {

constexpr int64_t kTaskElements = 1 << 14;

// body(image, first row, end row) for pieces of images of about kTaskElements.
template <typename Body>
void for_pieces(int64_t images, int64_t rows, int64_t cols, const Body& body) {
  int64_t piece = cols < kTaskElements ? kTaskElements / cols : 1;
  if (piece > rows) piece = rows;
  const int64_t pieces = (rows + piece - 1) / piece;
  parallel_for(images * pieces, [&](int64_t task, int) {
    const int64_t first = task % pieces * piece;
    body(task / pieces, first, first + piece < rows ? first + piece : rows);
  });
}

// For each image of the whole its number in the branch, or -1.
int32_t* places(const MatrixView& images, int64_t count) {
  int32_t* place = static_cast<int32_t*>(op_scratch(static_cast<size_t>(count) * sizeof(int32_t)));
  for (int64_t image = 0; image < count; ++image) place[image] = -1;
  for (int64_t j = 0; j < images.cols; ++j) {
    const int32_t image = images.as<int32_t>()[j];
    if (image >= 0 && image < count) place[image] = static_cast<int32_t>(j);
  }
  return place;
}

template <typename X, typename Branch>
void forward(const ResidualForward& op) {
  const int64_t count = op.x.rows / op.rows, cols = op.x.cols;
  const int32_t* place = op.images ? places(op.images, count) : nullptr;
  for_pieces(count, op.rows, cols, [&](int64_t image, int64_t first, int64_t end) {
    const int64_t j = place ? place[image] : image;
    for (int64_t row = first; row < end; ++row) {
      const X* x = op.x.as<X>() + (image * op.rows + row) * op.x.stride;
      X* y = op.y.as<X>() + (image * op.rows + row) * op.y.stride;
      if (j < 0) {
        if (x != y) memcpy(y, x, static_cast<size_t>(cols) * sizeof(X));
        continue;
      }
      const Branch* branch = op.branch.as<Branch>() + (j * op.rows + row) * op.branch.stride;
      for (int64_t i = 0; i < cols; i += kLanes) {
        const int64_t left = cols - i;
        store_up_to(y + i, load_up_to(x + i, left) + load_up_to(branch + i, left) * op.scale, left);
      }
    }
  });
}

template <typename X, typename Branch>
void gather(const ResidualGather& op) {
  const int64_t count = op.grad_y.rows / op.rows, cols = op.grad_y.cols;
  const int64_t kept = op.grad_branch.rows / op.rows;
  for_pieces(kept, op.rows, cols, [&](int64_t j, int64_t first, int64_t end) {
    const int64_t image = op.images ? op.images.as<int32_t>()[j] : j;
    const bool inside = image >= 0 && image < count;
    for (int64_t row = first; row < end; ++row) {
      const X* grad_y =
          op.grad_y.as<X>() + ((inside ? image : 0) * op.rows + row) * op.grad_y.stride;
      Branch* to = op.grad_branch.as<Branch>() + (j * op.rows + row) * op.grad_branch.stride;
      const float scale = inside ? op.scale : __builtin_nanf("");
      for (int64_t i = 0; i < cols; i += kLanes) {
        store_up_to(to + i, load_up_to(grad_y + i, cols - i) * scale, cols - i);
      }
    }
  });
}

}  // namespace

void residual_forward_cpu(const ResidualForward& op) {
  with_floating(op.x.dtype, [&](auto x) {
    with_floating(op.branch.dtype,
                  [&](auto branch) { forward<decltype(x), decltype(branch)>(op); });
  });
}

void residual_gather_cpu(const ResidualGather& op) {
  with_floating(op.grad_y.dtype, [&](auto x) {
    with_floating(op.grad_branch.dtype,
                  [&](auto branch) { gather<decltype(x), decltype(branch)>(op); });
  });
}

}  // namespace capi::CAPI_ISA
