#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <iterator>

namespace capi::interpreter {

namespace {

// Wide enough that an index that is off by a row or a tile lands in it.
constexpr size_t kMargin = 64 * 1024;
constexpr size_t kAlignment = 256;       // as cudaMalloc
constexpr unsigned char kPoison = 0xff;  // NaN in every floating-point type

constexpr int kWarp = 32;

uintptr_t number(const void* address) { return reinterpret_cast<uintptr_t>(address); }

// Whether a barrier stands between `before` and `now`.
bool ordered(const Moment& before, const Moment& now) {
  return before.thread < 0 || before.thread == now.thread || before.block_epoch < now.block_epoch ||
         (before.thread / kWarp == now.thread / kWarp && before.warp_epoch < now.warp_epoch);
}

std::string race(const char* first, const Moment& before, const char* second, size_t offset) {
  return "shared byte " + std::to_string(offset) + " was " + first + " by thread " +
         std::to_string(before.thread) + " and is " + second +
         " by this one without a barrier between them";
}

}  // namespace

void* DeviceMemory::allocate(size_t bytes) {
  void* const block = std::malloc(bytes + 2 * kMargin + kAlignment);
  if (block == nullptr) return nullptr;
  std::memset(block, kPoison, bytes + 2 * kMargin + kAlignment);
  const uintptr_t begin = (number(block) + kMargin + kAlignment - 1) / kAlignment * kAlignment;
  allocations_[begin] = {bytes, block};
  bytes_ += bytes;
  return reinterpret_cast<void*>(begin);
}

bool DeviceMemory::release(void* data) {
  const auto found = allocations_.find(number(data));
  if (found == allocations_.end()) return false;
  bytes_ -= found->second.bytes;
  std::free(found->second.block);
  allocations_.erase(found);
  last_begin_ = 1, last_end_ = 0;
  return true;
}

DeviceMemory::Map::const_iterator DeviceMemory::at_or_before(const void* address) const {
  const auto after = allocations_.upper_bound(number(address));
  return after == allocations_.begin() ? allocations_.end() : std::prev(after);
}

bool DeviceMemory::contains(const void* address, size_t size) {
  const uintptr_t begin = number(address);
  if (begin >= last_begin_ && begin + size <= last_end_) return true;
  const auto found = at_or_before(address);
  if (found == allocations_.end() || begin + size > found->first + found->second.bytes)
    return false;
  last_begin_ = found->first;
  last_end_ = found->first + found->second.bytes;
  return true;
}

std::string DeviceMemory::describe(const void* address) const {
  const uintptr_t place = number(address);
  const auto before = at_or_before(address);
  const auto after = allocations_.upper_bound(place);
  if (before != allocations_.end() && place < before->first + before->second.bytes + kMargin) {
    const uintptr_t end = before->first + before->second.bytes;
    const std::string size = std::to_string(before->second.bytes);
    if (place >= end) {
      return std::to_string(place - end) + " bytes past the end of an allocation of " + size +
             " bytes";
    }
    return "byte " + std::to_string(place - before->first) + " of an allocation of " + size +
           " bytes, beyond its end";
  }
  if (after != allocations_.end() && after->first - place <= kMargin) {
    return std::to_string(after->first - place) + " bytes before an allocation of " +
           std::to_string(after->second.bytes) + " bytes";
  }
  return "an address that is no device memory";
}

void SharedMemory::reset(size_t bytes) {
  bytes_.assign(bytes, kPoison);
  shadow_.assign(bytes, Byte());
}

std::string SharedMemory::read(size_t offset, size_t size, const Moment& now) {
  for (size_t i = offset; i < offset + size; ++i) {
    Byte& byte = shadow_[i];
    if (byte.in_flight) {
      return "shared byte " + std::to_string(i) +
             " is read while an asynchronous copy into it is not waited for";
    }
    if (!byte.initialized) return "shared byte " + std::to_string(i) + " is read but never written";
    if (!ordered(byte.written, now)) return race("written", byte.written, "read", i);
    if (byte.read.thread == now.thread && !byte.many_readers) {
      byte.read = now;
    } else if (byte.read.thread < 0 || byte.read.block_epoch < now.block_epoch) {
      byte.read = now;
      byte.many_readers = byte.many_warps = false;
    } else {
      byte.many_warps = byte.many_warps || byte.read.thread / kWarp != now.thread / kWarp;
      byte.many_readers = true;
      byte.read = now;
    }
  }
  return "";
}

std::string SharedMemory::write(size_t offset, size_t size, const Moment& now) {
  for (size_t i = offset; i < offset + size; ++i) {
    Byte& byte = shadow_[i];
    if (byte.in_flight) {
      return "shared byte " + std::to_string(i) +
             " is written while an asynchronous copy into it is not waited for";
    }
    if (!ordered(byte.written, now)) return race("written", byte.written, "written", i);
    const bool only_mine = byte.read.thread == now.thread && !byte.many_readers;
    const bool in_my_warp = byte.read.thread / kWarp == now.thread / kWarp && !byte.many_warps;
    const bool read_before = byte.read.thread < 0 || byte.read.block_epoch < now.block_epoch ||
                             (in_my_warp && byte.read.warp_epoch < now.warp_epoch);
    if (!only_mine && !read_before) return race("read", byte.read, "written", i);
    byte.written = now;
    byte.read = Moment();
    byte.many_readers = byte.many_warps = false;
    byte.initialized = true;
  }
  return "";
}

std::string SharedMemory::begin_async(size_t offset, size_t size, const Moment& now) {
  const std::string mistake = write(offset, size, now);
  for (size_t i = offset; mistake.empty() && i < offset + size; ++i) shadow_[i].in_flight = true;
  return mistake;
}

void SharedMemory::end_async(size_t offset, size_t size, const Moment& now) {
  for (size_t i = offset; i < offset + size; ++i) {
    shadow_[i].in_flight = false;
    shadow_[i].written = now;
  }
}

}  // namespace capi::interpreter
