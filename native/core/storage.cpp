#include "core/storage.h"

#include <sys/mman.h>

#include <atomic>
#include <string>

#include "core/device.h"
#include "core/error.h"

namespace capi {

namespace {

struct Count {
  std::atomic<size_t> live{0};
  std::atomic<size_t> peak{0};

  void add(size_t bytes) {
    const size_t now = live.fetch_add(bytes) + bytes;
    size_t seen = peak.load();
    while (now > seen && !peak.compare_exchange_weak(seen, now)) {
    }
  }
};

Count counts[2];

Count& count_of(Backend backend) { return counts[static_cast<size_t>(backend)]; }

constexpr size_t kHugePage = size_t{2} << 20;

size_t whole_pages(size_t bytes) {
  const size_t granule = bytes >= kHugePage ? kHugePage : 4096;
  return bytes == 0 ? granule : (bytes + granule - 1) / granule * granule;
}

void* map_pages(size_t mapped, size_t asked) {
  void* const data =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory, "[storage] Expected " + std::to_string(asked) +
                                             " bytes of memory but the system refused; " +
                                             std::to_string(Storage::live_bytes(Backend::kCpu)) +
                                             " bytes are live");
  }
  // Large pages save TLB misses in GEMM packing; where they are off, this is a no-op.
  if (mapped >= kHugePage) madvise(data, mapped, MADV_HUGEPAGE);
  return data;
}

}  // namespace

Storage::Storage(size_t bytes, Backend backend) : bytes_(bytes), backend_(backend) {
  switch (backend) {
    case Backend::kCpu:
      mapped_ = whole_pages(bytes);
      data_ = map_pages(mapped_, bytes);
      break;
    case Backend::kCuda:
      mapped_ = bytes;
      data_ = device_allocate(bytes);
      break;
  }
  count_of(backend).add(mapped_);
}

Storage::~Storage() {
  switch (backend_) {
    case Backend::kCpu:
      munmap(data_, mapped_);
      break;
    case Backend::kCuda:
      device_release(data_);
      break;
  }
  count_of(backend_).live.fetch_sub(mapped_);
}

size_t Storage::live_bytes(Backend backend) { return count_of(backend).live.load(); }
size_t Storage::peak_bytes(Backend backend) { return count_of(backend).peak.load(); }

}  // namespace capi
