// The device memory that each kernel moves, in sectors of 32 bytes, the least that a GPU moves.
//
// Counted once for each block that touches a sector, read and written apart: as if a block's first
// level cache held all that it uses, and nothing were shared between blocks. Rows read again by
// another block, sectors used in part, and passes of further kernels count; a second loop of a
// block over its own row does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_set>

namespace capi::interpreter {

class Traffic {
 public:
  Traffic();
  void count(const void* address, size_t bytes, bool write) {
    if (file_ != nullptr) insert(address, bytes, write);
  }
  void end_block();
  // Appends a line "<bytes read> <bytes written>" to the file that CAPI_INTERPRETER_TRAFFIC names;
  // without it nothing is counted.
  void end_launch();

 private:
  using Sectors = std::unordered_set<uintptr_t>;

  void insert(const void* address, size_t bytes, bool write);

  const char* const file_;  // null: not asked for
  Sectors read_, written_;  // of the block
  size_t read_bytes_ = 0, written_bytes_ = 0;
};

}  // namespace capi::interpreter
