#include "ops/linear/gemm.h"

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void gemm(const Gemm& op, Stream* stream) {
  const Expect expect("gemm");
  expect.present("a", op.a);
  expect.present("b", op.b);
  expect.present("c", op.c);
  const int64_t m = op.transpose_a ? op.a.cols : op.a.rows;
  const int64_t k = op.transpose_a ? op.a.rows : op.a.cols;
  const int64_t n = op.transpose_b ? op.b.rows : op.b.cols;
  expect.floating("a", op.a);
  expect.floating("c", op.c);
  expect.dtype("b", op.b, op.a.dtype);
  expect.shape("b", op.b, op.transpose_b ? n : k, op.transpose_b ? k : n);
  expect.shape("c", op.c, m, n);
  if (op.bias) {
    expect.floating("bias", op.bias);
    expect.shape("bias", op.bias, 1, n);
  }
  if (op.residual) expect.matrix("residual", op.residual, m, n, op.c.dtype);
  if (op.gelu == GeluEpilogue::kBackward) expect.present("pre", op.pre);
  if (op.pre) {
    expect.that(op.gelu != GeluEpilogue::kNone, "gelu with pre", "no gelu");
    expect.matrix("pre", op.pre, m, n, op.c.dtype);
    expect.that(op.pre.data != op.c.data, "pre apart from c", "the same tensor");
  }
  expect.that(op.c.data != op.a.data && op.c.data != op.b.data, "c apart from a and b",
              "the same tensor");
  expect.same_backend({op.a, op.b, op.c, op.bias, op.residual, op.pre});
  switch (op.a.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { gemm_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { gemm_cuda(op, stream->device()); });
  }
}

}  // namespace capi
