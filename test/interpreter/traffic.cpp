#include "traffic.h"

#include <cstdio>
#include <cstdlib>

namespace capi::interpreter {

namespace {

constexpr size_t kSector = 32;

}  // namespace

Traffic::Traffic() : file_(std::getenv("CAPI_INTERPRETER_TRAFFIC")) {}

void Traffic::insert(const void* address, size_t bytes, bool write) {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  for (uintptr_t sector = begin / kSector; sector <= (begin + bytes - 1) / kSector; ++sector) {
    (write ? written_ : read_).insert(sector);
  }
}

void Traffic::end_block() {
  read_bytes_ += read_.size() * kSector;
  written_bytes_ += written_.size() * kSector;
  read_.clear();
  written_.clear();
}

void Traffic::end_launch() {
  if (file_ == nullptr) return;
  std::FILE* const file = std::fopen(file_, "a");
  if (file == nullptr) std::abort();
  std::fprintf(file, "%zu %zu\n", read_bytes_, written_bytes_);
  std::fclose(file);
  read_bytes_ = written_bytes_ = 0;
}

}  // namespace capi::interpreter
