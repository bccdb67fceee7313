// The token sequence of every image: R registers, then V embedded patches, then M mask tokens.
//
//   tokens, grad_tokens    (B*(R+V+M), D)  f32 | bf16, rows may be strided
//   patches, grad_patches  (B*V, D)        dtype of tokens, rows may be strided
//   registers              (R, D)          parameters: all three f32 or the dtype of tokens,
//   mask_token             (1, D)          contiguous
//   positions              (N, D)          learned, added to patches and mask tokens
//   visible                (1, B*V)        i32 into the flattened batch [0, B*N); absent: V = N,
//                                          in order
//   masked                 (1, B*M)        i32, the same
//   grad_registers, grad_mask_token, grad_positions: f32, overwritten
//
// A patch takes the row of positions of its index modulo N. Parameter gradients are summed in the
// order of the rows (sums of 64 rows for registers and mask token), so they do not depend on
// threads or backend.
#pragma once

#include "core/cpu_isa.h"
#include "core/matrix_view.h"

namespace capi {

class DeviceQueue;
class Stream;

constexpr int64_t kTokenRowsInSum = 64;

struct TokensForward {
  MatrixView tokens;
  MatrixView registers, patches, mask_token;  // absent where R, V or M is 0
  MatrixView positions, visible, masked;      // optional
  int64_t batch = 0, n_registers = 0, n_visible = 0, n_masked = 0;
};
struct TokensBackward {
  MatrixView grad_tokens;
  MatrixView grad_registers, grad_patches, grad_mask_token, grad_positions;  // optional
  MatrixView visible, masked;                                                // optional
  int64_t batch = 0, n_registers = 0, n_visible = 0, n_masked = 0;
};

// Of a patch; a negative index counts from the end, so that nothing outside is read.
static constexpr int64_t position_of(int64_t index, int64_t positions) {
  const int64_t position = index % positions;
  return position < 0 ? position + positions : position;
}

void tokens_forward(const TokensForward& op, Stream* stream);
void tokens_backward(const TokensBackward& op, Stream* stream);

CAPI_CPU_KERNEL(tokens_forward_cpu, TokensForward)
void tokens_forward_cuda(const TokensForward& op, DeviceQueue& queue);
CAPI_CPU_KERNEL(tokens_backward_cpu, TokensBackward)
void tokens_backward_cuda(const TokensBackward& op, DeviceQueue& queue);

}  // namespace capi
