// The interpreter's device memory, and which thread last used each byte of a block's shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace capi::interpreter {

// Allocations, with room that belongs to nobody between them.
class DeviceMemory {
 public:
  void* allocate(size_t bytes);
  bool release(void* data);
  size_t bytes() const { return bytes_; }
  bool contains(const void* address, size_t size);
  // "12 bytes past the end of an allocation of 2048 bytes", or that it is no device memory at all.
  std::string describe(const void* address) const;

 private:
  struct Allocation {
    size_t bytes;
    void* block;  // what malloc gave
  };
  using Map = std::map<uintptr_t, Allocation>;
  Map::const_iterator at_or_before(const void* address) const;

  Map allocations_;
  uintptr_t last_begin_ = 1, last_end_ = 0;  // the allocation of the last access
  size_t bytes_ = 0;
};

// When something happened: threads are ordered by barriers of the block and of their warp.
struct Moment {
  int thread = -1;
  uint32_t block_epoch = 0, warp_epoch = 0;
};

// The accesses to each byte of shared memory since they were last ordered.
class SharedMemory {
 public:
  // Forgets everything: a new block begins.
  void reset(size_t bytes);
  unsigned char* data() { return bytes_.data(); }
  size_t size() const { return shadow_.size(); }
  bool contains(const void* address) const {
    const auto* byte = static_cast<const unsigned char*>(address);
    return byte >= bytes_.data() && byte < bytes_.data() + bytes_.size();
  }

  // Empty, or the mistake.
  std::string read(size_t offset, size_t size, const Moment& now);
  std::string write(size_t offset, size_t size, const Moment& now);
  std::string begin_async(size_t offset, size_t size, const Moment& now);
  void end_async(size_t offset, size_t size, const Moment& now);

 private:
  struct Byte {
    Moment written;
    Moment read;
    bool initialized = false, in_flight = false;
    bool many_readers = false;  // `read` is one of several in the same warp
    bool many_warps = false;    // or in several warps
  };
  std::vector<unsigned char> bytes_;
  std::vector<Byte> shadow_;
};

}  // namespace capi::interpreter
