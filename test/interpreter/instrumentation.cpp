// What the compiler calls before every load and store of a kernel file (-fsanitize=thread), here in
// place of the thread sanitizer's own library.
#include <cstddef>

namespace capi::interpreter {
void instrumented_access(const void* address, size_t size, bool write, const void* caller);
}

#define CAPI_ACCESS(name, size, write)                                                         \
  void __tsan_##name(void* address) {                                                          \
    capi::interpreter::instrumented_access(address, size, write, __builtin_return_address(0)); \
  }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
CAPI_ACCESS(read1, 1, false)
CAPI_ACCESS(read2, 2, false)
CAPI_ACCESS(read4, 4, false)
CAPI_ACCESS(read8, 8, false)
CAPI_ACCESS(read16, 16, false)
CAPI_ACCESS(write1, 1, true)
CAPI_ACCESS(write2, 2, true)
CAPI_ACCESS(write4, 4, true)
CAPI_ACCESS(write8, 8, true)
CAPI_ACCESS(write16, 16, true)
CAPI_ACCESS(unaligned_read2, 2, false)
CAPI_ACCESS(unaligned_read4, 4, false)
CAPI_ACCESS(unaligned_read8, 8, false)
CAPI_ACCESS(unaligned_read16, 16, false)
CAPI_ACCESS(unaligned_write2, 2, true)
CAPI_ACCESS(unaligned_write4, 4, true)
CAPI_ACCESS(unaligned_write8, 8, true)
CAPI_ACCESS(unaligned_write16, 16, true)
void __tsan_read_range(void* address, size_t size) {
  capi::interpreter::instrumented_access(address, size, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t size) {
  capi::interpreter::instrumented_access(address, size, true, __builtin_return_address(0));
}
}
