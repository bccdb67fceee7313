#include "ops/image/patchify.h"

#include <string>

#include "core/expect.h"
#include "core/stream.h"

namespace capi {

void patchify(const Patchify& op, Stream* stream) {
  const Expect expect("patchify");
  expect.that(op.patch >= 1 && op.height >= 1 && op.width >= 1 && op.height <= 65536 &&
                  op.width <= 65536 && op.height % op.patch == 0 && op.width % op.patch == 0,
              "height and width in [1, 65536] and multiples of patch",
              std::to_string(op.height) + " x " + std::to_string(op.width) + " with patch " +
                  std::to_string(op.patch));
  const int64_t images = op.images.rows;
  const int64_t patches = (op.height / op.patch) * (op.width / op.patch);
  expect.matrix("images", op.images, images, op.height * op.width * 3, Dtype::kU8);
  expect.contiguous("images", op.images);
  if (op.flips) {
    expect.matrix("flips", op.flips, 1, images, Dtype::kU8);
    expect.contiguous("flips", op.flips);
  }
  expect.present("out", op.out);
  expect.floating("out", op.out);
  expect.shape("out", op.out, images * patches, 3 * op.patch * op.patch);
  expect.contiguous("out", op.out);
  expect.same_backend({op.images, op.flips, op.out});
  switch (op.images.backend) {
    case Backend::kCpu:
      return stream->enqueue([op] { patchify_cpu(op); });
    case Backend::kCuda:
      return stream->enqueue([op, stream] { patchify_cuda(op, stream->device()); });
  }
}

}  // namespace capi
