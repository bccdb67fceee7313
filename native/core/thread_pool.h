// One pool of worker threads for all CPU kernels. A kernel splits its work into tasks whose number
// and contents depend on the shapes only, never on the number of threads, so that results do not
// either. This header is plain C++ without the standard library: kernel files include it (see
// cpu_isa.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace capi {

int thread_count();
// Takes effect for the next parallel_for. 1 <= count <= 1024.
void set_thread_count(int count);

// Runs body(context, task, worker) for every task in [0, tasks), in no particular order; returns
// when all are done. worker is in [0, thread_count()). A call from inside a task runs serially.
void run_tasks(int64_t tasks, void (*body)(void* context, int64_t task, int worker), void* context);

// Memory that belongs to a worker while it runs a task; grows on first use and is then reused.
// 64-byte aligned, contents undefined, valid until the same worker asks again.
void* worker_scratch(int worker, size_t bytes);

// The same for the calling op as a whole (partial sums that all its tasks write); valid until the
// next op on this thread asks again.
void* op_scratch(size_t bytes);

// Bytes held by all scratch above.
size_t scratch_bytes();

// parallel_for(tasks, [&](int64_t task, int worker) { ... })
template <typename Body>
inline void parallel_for(int64_t tasks, const Body& body) {
  run_tasks(
      tasks,
      [](void* context, int64_t task, int worker) {
        (*static_cast<const Body*>(context))(task, worker);
      },
      const_cast<Body*>(&body));
}

}  // namespace capi
