#include "core/storage.h"

#include <sys/mman.h>

#include <atomic>
#include <string>

#include "core/error.h"

namespace capi {

namespace {

std::atomic<size_t> live{0};
std::atomic<size_t> peak{0};

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Storage::Storage(size_t bytes) : bytes_(bytes) {
  const size_t granule = bytes >= kHugePage ? kHugePage : 4096;
  mapped_ = (bytes + granule - 1) / granule * granule;
  if (mapped_ == 0) mapped_ = granule;
  data_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw Error(ErrorCode::kOutOfMemory, "[storage] Expected " + std::to_string(bytes) +
                                             " bytes of memory but the system refused; " +
                                             std::to_string(live.load()) + " bytes are live");
  }
  // Large pages save TLB misses in GEMM packing; where they are off, this is a no-op.
  if (mapped_ >= kHugePage) madvise(data_, mapped_, MADV_HUGEPAGE);
  const size_t now = live.fetch_add(mapped_) + mapped_;
  size_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

Storage::~Storage() {
  if (data_ == nullptr) return;
  munmap(data_, mapped_);
  live.fetch_sub(mapped_);
}

size_t Storage::live_bytes() { return live.load(); }
size_t Storage::peak_bytes() { return peak.load(); }

}  // namespace capi
