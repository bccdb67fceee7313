// Runs CUDA kernels on the CPU, to find index, barrier and fragment mistakes without a GPU.
//
// A kernel file is compiled as plain C++ against the headers in include/ and with the compiler's
// instrumentation of every load and store (instrumentation.cpp). Each thread of a block is a fiber;
// the fibers of a block take turns on one CPU thread, blocks run one after the other. Found and
// reported, with block, thread and source line:
//
//   - access outside of an allocation of device memory, or of the block's shared memory
//   - host memory used by a kernel
//   - shared memory read before it was written, or written and used by two threads without a
//     barrier between them, whichever thread the interpreter happened to run first
//   - bytes of an asynchronous copy used before it was waited for; copies never waited for
//   - misaligned vector accesses
//   - barriers and warp operations that not every thread reaches
//
// CAPI_INTERPRETER_ORDER=reverse runs blocks and threads in the opposite order: results that depend
// on the order differ. CAPI_INTERPRETER_TRAFFIC=<file> counts what each kernel moves (traffic.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace capi::interpreter {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

struct Launch {
  Index3 grid, block;
  size_t shared_bytes = 0;
  void (*thread)(const void* parameters) = nullptr;  // what one thread runs
  const void* parameters = nullptr;  // memory that the kernel may read besides the device's
  size_t parameter_bytes = 0;
};

// Runs every block. Empty, or what went wrong; the rest of the grid is then not run.
std::string run(const Launch& launch);

// Of the thread that runs now: CUDA's built-in variables.
extern Index3 threadIdx, blockIdx, blockDim, gridDim;
unsigned char* shared_memory();

// Ends the launch with a message; does not return. Only inside a kernel.
[[noreturn]] void fail(const std::string& message);

void block_barrier();
void warp_barrier(uint32_t mask);

// A warp operation: every lane of `mask` calls it with an operation of the same name and its own
// operands. When all have come, `act` runs once with the operands by lane (null: not in the mask),
// and all go on.
using WarpAction = void (*)(void* const operands[32], uint32_t mask);
void warp_operation(const char* name, uint32_t mask, void* operands, WarpAction act);
// This thread's lane, and the thread that has lane `lane` of this warp.
int lane();

// An access by a thread of this warp's block: `size` bytes at `address`.
void check_read(const void* address, size_t size, int by_lane = -1);
void check_write(void* address, size_t size);

void async_copy(void* shared, const void* global, size_t bytes, bool valid);
void async_commit();
void async_wait(int pending);

// Device memory: allocations that kernels may use and host code of kernel files may not.
void* allocate(size_t bytes);
// False when data is no allocation.
bool release(void* data);
size_t allocated_bytes();
// Whether these bytes lie in one allocation.
bool is_allocated(const void* data, size_t bytes);

}  // namespace capi::interpreter
