#include "core/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/storage.h"

namespace capi {

namespace {

struct Scratch {
  std::unique_ptr<Storage> storage;

  void* reserve(size_t bytes) {
    if (!storage || storage->bytes() < bytes) {
      storage.reset();
      storage = std::make_unique<Storage>(bytes);
    }
    return storage->data();
  }

  size_t mapped() const { return storage ? storage->mapped() : 0; }

  // Lets go of the memory and returns how much it was.
  size_t release() {
    const size_t bytes = mapped();
    storage.reset();
    return bytes;
  }
};

// Idle workers spin this many times before they sleep: about 20 us, the gap between two ops of a
// step.
constexpr int kSpins = 4000;

constexpr uint64_t kOpen = uint64_t{1} << 32;

inline void pause() { __builtin_ia32_pause(); }

class ThreadPool {
 public:
  ThreadPool() {
    unsigned cores = std::thread::hardware_concurrency();
    count_ = cores == 0 ? 1 : static_cast<int>(cores);
    scratch_.resize(static_cast<size_t>(count_));
  }

  ~ThreadPool() { stop(); }

  int count() const { return count_.load(std::memory_order_relaxed); }

  void set_count(int count) {
    if (count < 1 || count > 1024) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "[threads] Expected a thread count in [1, 1024] but received " + std::to_string(count));
    }
    std::lock_guard<std::mutex> running(run_mutex_);
    if (count == count_) return;
    stop();
    count_ = count;
    scratch_.resize(static_cast<size_t>(count));
    leveled_scratch_ = 0;
  }

  void run(int64_t tasks, void (*body)(void*, int64_t, int), void* context) {
    if (tasks <= 0) return;
    if (inside_) {  // nested: the caller's worker number keeps its scratch its own
      for (int64_t task = 0; task < tasks; ++task) body(context, task, worker_);
      return;
    }
    std::lock_guard<std::mutex> running(run_mutex_);  // two streams take turns
    if (tasks == 1 || count_ == 1) {
      {
        const Inside inside(0);
        for (int64_t task = 0; task < tasks; ++task) body(context, task, 0);
      }
      level_scratch();
      return;
    }
    if (workers_.empty()) start();
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    job_.store(kOpen, std::memory_order_release);
    {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    work(0);
    // Close the job: a worker that has not joined yet is not waited for.
    job_.fetch_and(~kOpen, std::memory_order_acq_rel);
    while (job_.load(std::memory_order_acquire) != 0) pause();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    level_scratch();
  }

  void* scratch(int worker, size_t bytes) {
    void* const data = scratch_[static_cast<size_t>(worker)].reserve(bytes);
    // Only what could be had: level_scratch asks for as much.
    size_t largest = largest_scratch_.load(std::memory_order_relaxed);
    while (bytes > largest && !largest_scratch_.compare_exchange_weak(largest, bytes)) {
    }
    return data;
  }

  size_t scratch_bytes() {
    std::lock_guard<std::mutex> running(run_mutex_);
    size_t total = 0;
    for (const Scratch& s : scratch_) total += s.mapped();
    return total;
  }

 private:
  void start() {
    stopping_ = false;
    const uint64_t generation = generation_.load();
    for (int worker = 1; worker < count_; ++worker) {
      workers_.emplace_back([this, worker, generation] { loop(worker, generation); });
    }
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      stopping_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void loop(int worker, uint64_t seen) {
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen;
           ++spin) {
        pause();
      }
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(sleep_mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_) return;
      uint64_t job = job_.load(std::memory_order_acquire);
      while ((job & kOpen) != 0) {
        if (job_.compare_exchange_weak(job, job + 1, std::memory_order_acq_rel)) {
          work(worker);
          job_.fetch_sub(1, std::memory_order_release);
          break;
        }
      }
    }
  }

  // Which worker takes which task is chance: each gets what one of them needed, so that the same
  // ops later allocate nothing. Pages that are never touched cost nothing.
  void level_scratch() {
    const size_t largest = largest_scratch_.load(std::memory_order_relaxed);
    if (largest == leveled_scratch_) return;
    for (Scratch& s : scratch_) s.reserve(largest);
    leveled_scratch_ = largest;
  }

  // Tasks that throw (no memory for scratch) end the job; the first error goes to the caller of
  // run.
  void work(int worker) {
    const Inside inside(worker);
    try {
      for (;;) {
        const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
        if (task >= tasks_) break;
        body_(context_, task, worker);
      }
    } catch (...) {
      next_.store(tasks_, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  static thread_local bool inside_;
  static thread_local int worker_;

  // This thread runs tasks, as this worker.
  struct Inside {
    explicit Inside(int worker) {
      inside_ = true;
      worker_ = worker;
    }
    ~Inside() { inside_ = false; }
  };

  std::atomic<int> count_{1};
  std::vector<std::thread> workers_;
  std::vector<Scratch> scratch_;
  std::atomic<size_t> largest_scratch_{0};
  size_t leveled_scratch_ = 0;
  std::mutex run_mutex_;

  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<bool> stopping_{false};

  void (*body_)(void*, int64_t, int) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::exception_ptr failure_;
  std::atomic<uint64_t> job_{0};  // kOpen while tasks may remain, plus the workers now inside
};

thread_local bool ThreadPool::inside_ = false;
thread_local int ThreadPool::worker_ = 0;

// Never destroyed: a worker thread of Node may still be computing while the process exits.
ThreadPool& pool() {
  static ThreadPool* instance = new ThreadPool();
  return *instance;
}

std::atomic<size_t> op_scratch_bytes{0};

// Of one stream's thread, counted while the thread lives.
struct OpScratch {
  Scratch scratch;

  void* reserve(size_t bytes) {
    if (scratch.mapped() < bytes) op_scratch_bytes -= scratch.release();
    const size_t before = scratch.mapped();
    void* data = scratch.reserve(bytes);
    op_scratch_bytes += scratch.mapped() - before;
    return data;
  }

  ~OpScratch() { op_scratch_bytes -= scratch.mapped(); }
};

}  // namespace

int thread_count() { return pool().count(); }
void set_thread_count(int count) { pool().set_count(count); }

void run_tasks(int64_t tasks, void (*body)(void*, int64_t, int), void* context) {
  pool().run(tasks, body, context);
}

void* worker_scratch(int worker, size_t bytes) { return pool().scratch(worker, bytes); }

void* op_scratch(size_t bytes) {
  static thread_local OpScratch scratch;
  return scratch.reserve(bytes);
}

size_t scratch_bytes() { return pool().scratch_bytes() + op_scratch_bytes.load(); }

}  // namespace capi
