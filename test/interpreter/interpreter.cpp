#include "interpreter.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"
#include "simulated_device.h"
#include "traffic.h"

// Saves the registers that a call must keep, and the stack pointer at *save; continues where `load`
// was saved.
extern "C" void capi_switch_stack(void** save, void* load);
// The linker's: where this library begins and ends in memory.
extern "C" const char __ehdr_start[], _end[];
asm(R"(
.text
.globl capi_switch_stack
.hidden capi_switch_stack
.type capi_switch_stack, @function
capi_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size capi_switch_stack, .-capi_switch_stack
)");

namespace capi::interpreter {

namespace {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr size_t kStackBytes = 128 * 1024;

enum class State { kReady, kAtBlockBarrier, kAtWarp, kFinished };

struct AsyncCopy {
  void* shared;
  const void* global;
  size_t bytes;
  bool valid;
};

struct Fiber {
  Index3 thread;
  int number = 0;  // in the block
  State state = State::kReady;
  void* stack_pointer = nullptr;
  unsigned char* stack = nullptr;
  // What it waits for in its warp.
  const char* operation = nullptr;
  uint32_t mask = 0;
  void* operands = nullptr;
  // Asynchronous copies: the group being filled, then the committed ones, oldest first.
  std::vector<AsyncCopy> filling;
  std::deque<std::vector<AsyncCopy>> groups;
};

// Stacks are kept: a launch of many small blocks would else map and unmap all the time.
class Stacks {
 public:
  unsigned char* get(size_t index) {
    while (stacks_.size() <= index) {
      void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      // An overflow ends the process instead of changing other memory.
      if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE) != 0) std::abort();
      stacks_.push_back(static_cast<unsigned char*>(stack));
    }
    return stacks_[index];
  }

 private:
  std::vector<unsigned char*> stacks_;
};

struct Machine {
  std::mutex running;  // one launch at a time, whatever the stream
  std::mutex memory_mutex;
  DeviceMemory memory;
  SharedMemory shared;
  Traffic traffic;
  Stacks stacks;
  std::vector<Fiber> fibers;
  std::vector<uint32_t> warp_epochs;
  uint32_t block_epoch = 0;
  const Launch* launch = nullptr;
  Fiber* current = nullptr;
  bool acting = false;  // an operation of a warp uses the operands of all its lanes
  void* scheduler_stack = nullptr;
  std::string failure;
};

Machine& machine() {
  static Machine* const instance = new Machine();
  return *instance;
}

// The thread that runs kernels now, for the instrumentation, which other threads call too.
thread_local bool in_kernel = false;

Moment now_of(int thread) {
  Machine& m = machine();
  return {thread, m.block_epoch, m.warp_epochs[static_cast<size_t>(thread / kWarp)]};
}

void yield() {
  Machine& m = machine();
  capi_switch_stack(&m.current->stack_pointer, m.scheduler_stack);
}

std::string place_text(const Fiber& fiber) {
  const auto text = [](const Index3& i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) +
           ")";
  };
  return "block " + text(blockIdx) + ", thread " + text(fiber.thread);
}

// "rms_norm_cuda.cu:31", by the debugger's line table.
std::string source_line(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0) return "";
  char command[1024];
  std::snprintf(
      command, sizeof command, "addr2line -Cfs -e '%s' %#lx 2>/dev/null", info.dli_fname,
      reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1);
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  if (!pipe) return "";
  char text[2048] = "";
  const size_t length = fread(text, 1, sizeof text - 1, pipe.get());
  std::string result(text, length);
  for (char& c : result) {
    if (c == '\n') c = ' ';
  }
  return result;
}

void finish_async(Fiber& fiber, const std::vector<AsyncCopy>& group) {
  Machine& m = machine();
  for (const AsyncCopy& copy : group) {
    if (copy.valid) {
      std::memcpy(copy.shared, copy.global, copy.bytes);
    } else {
      std::memset(copy.shared, 0, copy.bytes);
    }
    const size_t offset =
        static_cast<size_t>(static_cast<unsigned char*>(copy.shared) - m.shared.data());
    m.shared.end_async(offset, copy.bytes, now_of(fiber.number));
  }
}

[[noreturn]] void fiber_main() {
  Machine& m = machine();
  m.launch->thread(m.launch->parameters);
  if (!m.current->filling.empty() || !m.current->groups.empty()) {
    fail("ends with asynchronous copies that were never waited for");
  }
  m.current->state = State::kFinished;
  yield();
  std::abort();  // a finished fiber is never resumed
}

void prepare(Fiber& fiber, size_t index) {
  fiber.stack = machine().stacks.get(index);
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes);
  *(top - 2) = reinterpret_cast<void*>(&fiber_main);  // where capi_switch_stack returns to
  fiber.stack_pointer = top - 2 - 6;                  // below it the six saved registers
  std::memset(fiber.stack_pointer, 0, 6 * sizeof(void*));
}

void run_warp_operation(int warp, WarpAction act, uint32_t mask) {
  Machine& m = machine();
  void* operands[kWarp] = {};
  for (int i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    Fiber& fiber = m.fibers[static_cast<size_t>(warp * kWarp + i)];
    operands[i] = fiber.operands;
    fiber.state = State::kReady;
  }
  m.acting = true;
  act(operands, mask);
  m.acting = false;
}

bool reverse_order() {
  const char* order = std::getenv("CAPI_INTERPRETER_ORDER");
  return order != nullptr && std::strcmp(order, "reverse") == 0;
}

std::string waiting_text() {
  std::string text = "threads wait for each other in vain:";
  int named = 0;
  for (const Fiber& fiber : machine().fibers) {
    if (named == 4) break;
    if (fiber.state == State::kAtBlockBarrier) {
      text += " thread " + std::to_string(fiber.number) + " at __syncthreads;";
      ++named;
    } else if (fiber.state == State::kAtWarp) {
      text += " thread " + std::to_string(fiber.number) + " in " + fiber.operation + ";";
      ++named;
    }
  }
  for (const Fiber& fiber : machine().fibers) {
    if (fiber.state != State::kFinished) continue;
    return text + " thread " + std::to_string(fiber.number) + " has ended";
  }
  return text;
}

void resume(Fiber& fiber) {
  Machine& m = machine();
  m.current = &fiber;
  threadIdx = fiber.thread;
  capi_switch_stack(&m.scheduler_stack, fiber.stack_pointer);
  m.current = nullptr;
}

// Until all threads of the block have ended, or one has failed.
void run_block(bool reverse) {
  Machine& m = machine();
  const size_t count = m.fibers.size();
  for (;;) {
    bool any_ready = false, all_finished = true, all_at_barrier = true;
    for (size_t i = 0; i < count; ++i) {
      Fiber& fiber = m.fibers[reverse ? count - 1 - i : i];
      if (fiber.state == State::kReady) {
        any_ready = true;
        resume(fiber);
        if (!m.failure.empty()) return;
      }
    }
    for (const Fiber& fiber : m.fibers) {
      if (fiber.state == State::kFinished) continue;
      all_finished = false;
      if (fiber.state != State::kAtBlockBarrier) all_at_barrier = false;
    }
    if (all_finished) return;
    if (all_at_barrier) {  // threads that have ended are not waited for, as on a GPU
      ++m.block_epoch;
      for (Fiber& fiber : m.fibers) {
        if (fiber.state == State::kAtBlockBarrier) fiber.state = State::kReady;
      }
    } else if (!any_ready) {
      m.failure = waiting_text();
      return;
    }
  }
}

}  // namespace

Index3 threadIdx, blockIdx, blockDim, gridDim;

unsigned char* shared_memory() { return machine().shared.data(); }
int lane() { return machine().current->number % kWarp; }

void fail(const std::string& message) {
  Machine& m = machine();
  m.failure = place_text(*m.current) + ": " + message;
  yield();
  std::abort();
}

void block_barrier() {
  Machine& m = machine();
  m.current->state = State::kAtBlockBarrier;
  yield();
}

void warp_operation(const char* name, uint32_t mask, void* operands, WarpAction act) {
  Machine& m = machine();
  Fiber& me = *m.current;
  const int warp = me.number / kWarp;
  if ((mask >> lane() & 1) == 0) fail(std::string(name) + " with a mask that leaves this lane out");
  me.operation = name;
  me.mask = mask;
  me.operands = operands;
  me.state = State::kAtWarp;
  bool complete = true;
  for (int i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    const size_t number = static_cast<size_t>(warp * kWarp + i);
    if (number >= m.fibers.size()) fail(std::string(name) + " names lanes that the block lacks");
    const Fiber& other = m.fibers[number];
    if (other.state == State::kFinished) {
      fail(std::string(name) + " waits for thread " + std::to_string(number) + ", which has ended");
    }
    if (other.state != State::kAtWarp) {
      complete = false;
    } else if (std::strcmp(other.operation, name) != 0 || other.mask != mask) {
      fail(std::string(name) + " meets " + other.operation + " of thread " +
           std::to_string(number) + " in the same warp");
    }
  }
  if (complete) {
    run_warp_operation(warp, act, mask);
  } else {
    yield();
  }
}

void warp_barrier(uint32_t mask) {
  if (mask != kAllLanes) fail("__syncwarp of a part of a warp is not supported");
  static int unused;
  warp_operation("__syncwarp", mask, &unused, [](void* const*, uint32_t) {
    Machine& m = machine();
    ++m.warp_epochs[static_cast<size_t>(m.current->number / kWarp)];
  });
}

namespace {

// Whether this is memory of the thread's own: its stack, the launch's parameters, constants.
bool own_memory(const void* address, size_t size) {
  Machine& m = machine();
  const auto* byte = static_cast<const unsigned char*>(address);
  if (byte >= m.current->stack && byte + size <= m.current->stack + kStackBytes) return true;
  const auto* parameters = static_cast<const unsigned char*>(m.launch->parameters);
  return byte >= parameters && byte + size <= parameters + m.launch->parameter_bytes;
}

// Static data of this library: constants, and CUDA's built-in variables.
bool static_data(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  return byte >= __ehdr_start && byte < _end;
}

void check(const void* address, size_t size, bool write, int by_lane, const void* caller) {
  Machine& m = machine();
  const auto bad = [&](const std::string& what) {
    const std::string line = source_line(caller);
    fail((write ? "writes " : "reads ") + std::to_string(size) + " bytes: " + what +
         (line.empty() ? "" : "; at " + line));
  };
  if (m.shared.contains(address)) {
    const size_t offset =
        static_cast<size_t>(static_cast<const unsigned char*>(address) - m.shared.data());
    if (offset + size > m.shared.size()) {
      bad("beyond the block's " + std::to_string(m.shared.size()) + " bytes of shared memory");
    }
    const int warp = m.current->number / kWarp;
    const Moment now = now_of(by_lane < 0 ? m.current->number : warp * kWarp + by_lane);
    const std::string mistake =
        write ? m.shared.write(offset, size, now) : m.shared.read(offset, size, now);
    if (!mistake.empty()) bad(mistake);
  } else if (m.memory.contains(address, size)) {
    m.traffic.count(address, size, write);
  } else {
    if (own_memory(address, size) || (!write && static_data(address))) return;
    const auto* byte = static_cast<const unsigned char*>(address);
    constexpr size_t kReach = 4096;  // an index that is off by a row or two
    const unsigned char* shared = m.shared.data();
    if (byte >= shared && byte < shared + m.shared.size() + kReach) {
      bad(std::to_string(byte - shared) + " bytes into a shared memory of " +
          std::to_string(m.shared.size()));
    }
    bad(m.memory.describe(address));
  }
  if (size > 1 && (size & (size - 1)) == 0 && reinterpret_cast<uintptr_t>(address) % size != 0) {
    bad("misaligned");
  }
}

}  // namespace

void check_read(const void* address, size_t size, int by_lane) {
  check(address, size, false, by_lane, __builtin_return_address(0));
}
void check_write(void* address, size_t size) {
  check(address, size, true, -1, __builtin_return_address(0));
}

// Called by the instrumentation with the place in the kernel.
void instrumented_access(const void* address, size_t size, bool write, const void* caller) {
  if (!in_kernel) {
    Machine& m = machine();
    const std::lock_guard<std::mutex> lock(m.memory_mutex);
    if (m.memory.contains(address, 1)) {
      std::fprintf(stderr, "host code uses device memory at %s\n", source_line(caller).c_str());
      std::abort();
    }
    return;
  }
  if (machine().current == nullptr || machine().acting) return;
  check(address, size, write, -1, caller);
}

void async_copy(void* shared, const void* global, size_t bytes, bool valid) {
  Machine& m = machine();
  if (!m.shared.contains(shared)) fail("an asynchronous copy to what is not shared memory");
  if (reinterpret_cast<uintptr_t>(shared) % bytes != 0)
    fail("an asynchronous copy to a misaligned address");
  const size_t offset = static_cast<size_t>(static_cast<unsigned char*>(shared) - m.shared.data());
  if (offset + bytes > m.shared.size()) fail("an asynchronous copy beyond the shared memory");
  if (valid && reinterpret_cast<uintptr_t>(global) % bytes != 0) {
    fail("an asynchronous copy from a misaligned address");
  }
  if (valid && !m.memory.contains(global, bytes)) {
    fail("an asynchronous copy from " + m.memory.describe(global));
  }
  const std::string mistake = m.shared.begin_async(offset, bytes, now_of(m.current->number));
  if (!mistake.empty()) fail("an asynchronous copy: " + mistake);
  if (valid) m.traffic.count(global, bytes, false);
  m.current->filling.push_back({shared, global, bytes, valid});
}

void async_commit() {
  Fiber& me = *machine().current;
  me.groups.push_back(std::move(me.filling));
  me.filling.clear();
}

void async_wait(int pending) {
  Fiber& me = *machine().current;
  while (me.groups.size() > static_cast<size_t>(pending)) {
    finish_async(me, me.groups.front());
    me.groups.pop_front();
  }
}

std::string run(const Launch& launch) {
  if (launch_faults()) return "";
  Machine& m = machine();
  const std::lock_guard<std::mutex> one(m.running);
  const std::lock_guard<std::mutex> memory(m.memory_mutex);
  const size_t threads = size_t{launch.block.x} * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024) return "a block of " + std::to_string(threads) + " threads";
  m.launch = &launch;
  m.failure.clear();
  m.acting = false;
  in_kernel = true;
  blockDim = launch.block;
  gridDim = launch.grid;
  const bool reverse = reverse_order();
  const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (uint64_t b = 0; b < blocks && m.failure.empty(); ++b) {
    const uint64_t number = reverse ? blocks - 1 - b : b;
    blockIdx = {static_cast<unsigned>(number % launch.grid.x),
                static_cast<unsigned>(number / launch.grid.x % launch.grid.y),
                static_cast<unsigned>(number / launch.grid.x / launch.grid.y)};
    m.shared.reset(launch.shared_bytes);
    m.block_epoch = 1;
    m.warp_epochs.assign((threads + kWarp - 1) / kWarp, 1);
    m.fibers.clear();
    m.fibers.resize(threads);
    for (size_t t = 0; t < threads; ++t) {
      Fiber& fiber = m.fibers[t];
      fiber.number = static_cast<int>(t);
      fiber.thread = {static_cast<unsigned>(t % launch.block.x),
                      static_cast<unsigned>(t / launch.block.x % launch.block.y),
                      static_cast<unsigned>(t / launch.block.x / launch.block.y)};
      prepare(fiber, t);
    }
    run_block(reverse);
    m.traffic.end_block();
  }
  m.traffic.end_launch();
  in_kernel = false;
  m.launch = nullptr;
  return m.failure;
}

void* allocate(size_t bytes) {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.memory_mutex);
  return m.memory.allocate(bytes);
}

bool release(void* data) {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.memory_mutex);
  return m.memory.release(data);
}

bool is_allocated(const void* data, size_t bytes) {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.memory_mutex);
  return m.memory.contains(data, bytes);
}

size_t allocated_bytes() {
  Machine& m = machine();
  const std::lock_guard<std::mutex> lock(m.memory_mutex);
  return m.memory.bytes();
}

}  // namespace capi::interpreter
