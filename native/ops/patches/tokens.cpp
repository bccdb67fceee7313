#include "ops/patches/tokens.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

namespace {

struct Counts {
  int64_t batch, registers, visible, masked;
};

void check_layout(const Expect& expect, const char* name, const MatrixView& tokens, Counts counts) {
  expect.present(name, tokens);
  expect.floating(name, tokens);
  // Below 2^29, so that the product of batch and sum stays below 2^63.
  const auto bounded = [](int64_t count) { return count >= 0 && count < (int64_t{1} << 29); };
  expect.that(counts.batch > 0 && bounded(counts.batch) && bounded(counts.registers) &&
                  bounded(counts.visible) && bounded(counts.masked),
              "batch and counts in [0, 2^29), batch > 0",
              std::to_string(counts.batch) + ", " + std::to_string(counts.registers) + ", " +
                  std::to_string(counts.visible) + ", " + std::to_string(counts.masked));
  expect.shape(name, tokens, counts.batch * (counts.registers + counts.visible + counts.masked),
               tokens.cols);
}

// `indices` of `count` patches an image; absent, there must be one for each position.
void check_indices(const Expect& expect, const char* name, const MatrixView& indices, int64_t batch,
                   int64_t count, const MatrixView& positions) {
  if (positions) {
    expect.that(positions.rows > 0, "positions of at least one row", shape_text(positions),
                ErrorCode::kShapeMismatch);
  }
  if (indices) {
    expect.matrix(name, indices, 1, batch * count, Dtype::kI32);
  } else if (positions && count > 0) {
    expect.that(count == positions.rows, std::string(name) + " or one patch for each position",
                std::to_string(count) + " patches for " + shape_text(positions),
                ErrorCode::kShapeMismatch);
  }
}

}  // namespace

void tokens_forward(const TokensForward& op, Stream* stream) {
  const Expect expect("tokens_forward");
  check_layout(expect, "tokens", op.tokens, {op.batch, op.n_registers, op.n_visible, op.n_masked});
  const int64_t dim = op.tokens.cols;
  Dtype parameters = Dtype::kF32;
  for (const MatrixView& parameter : {op.registers, op.mask_token, op.positions}) {
    if (parameter) parameters = parameter.dtype;
  }
  // One dtype for all that are given, read or not: the kernel asks the first.
  if (op.registers) expect.dtype("registers", op.registers, parameters);
  if (op.mask_token) expect.dtype("mask_token", op.mask_token, parameters);
  expect.that(parameters == Dtype::kF32 || parameters == op.tokens.dtype,
              "parameters of f32 or the dtype of tokens", dtype_name(parameters),
              ErrorCode::kDtypeMismatch);
  if (op.n_registers > 0) {
    expect.matrix("registers", op.registers, op.n_registers, dim, parameters);
    expect.contiguous("registers", op.registers);
  }
  if (op.n_visible > 0) {
    expect.matrix("patches", op.patches, op.batch * op.n_visible, dim, op.tokens.dtype);
  }
  if (op.n_masked > 0) expect.matrix("mask_token", op.mask_token, 1, dim, parameters);
  if (op.positions) {
    expect.matrix("positions", op.positions, op.positions.rows, dim, parameters);
    expect.contiguous("positions", op.positions);
  }
  check_indices(expect, "visible", op.visible, op.batch, op.n_visible, op.positions);
  check_indices(expect, "masked", op.masked, op.batch, op.n_masked, op.positions);
  expect.same_backend(
      {op.tokens, op.registers, op.patches, op.mask_token, op.positions, op.visible, op.masked});
  switch (op.tokens.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { tokens_forward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { tokens_forward_cuda(op, stream->device()); });
  }
}

void tokens_backward(const TokensBackward& op, Stream* stream) {
  const Expect expect("tokens_backward");
  check_layout(expect, "grad_tokens", op.grad_tokens,
               {op.batch, op.n_registers, op.n_visible, op.n_masked});
  const int64_t dim = op.grad_tokens.cols;
  if (op.grad_registers) {
    expect.matrix("grad_registers", op.grad_registers, op.n_registers, dim, Dtype::kF32);
    expect.contiguous("grad_registers", op.grad_registers);
  }
  if (op.grad_patches) {
    expect.matrix("grad_patches", op.grad_patches, op.batch * op.n_visible, dim,
                  op.grad_tokens.dtype);
  }
  if (op.grad_mask_token) expect.matrix("grad_mask_token", op.grad_mask_token, 1, dim, Dtype::kF32);
  if (op.grad_positions) {
    expect.matrix("grad_positions", op.grad_positions, op.grad_positions.rows, dim, Dtype::kF32);
    expect.contiguous("grad_positions", op.grad_positions);
  }
  check_indices(expect, "visible", op.visible, op.batch, op.n_visible, op.grad_positions);
  check_indices(expect, "masked", op.masked, op.batch, op.n_masked, op.grad_positions);
  expect.same_backend({op.grad_tokens, op.grad_registers, op.grad_patches, op.grad_mask_token,
                       op.grad_positions, op.visible, op.masked});
  switch (op.grad_tokens.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { tokens_backward_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { tokens_backward_cuda(op, stream->device()); });
  }
}

}  // namespace capi
