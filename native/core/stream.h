// An ordered queue of work. A stream is one thread that runs ops in order, so that the caller
// (Node's event loop) stays free: ops on CPU tensors compute there, ops on CUDA tensors launch
// their kernels.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/error.h"

namespace capi {

class DeviceQueue;

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Finishes the work that is running and joins; what is queued, now or later, never runs. Only for
  // tear-down: nobody waits any more.
  void stop();
  // Runs work after everything enqueued before it. What it throws poisons the stream: results are
  // undefined from there on, so what is queued never runs and later calls throw the same error.
  void enqueue(std::function<void()> work);
  // The name, a literal, of the op that the next call of enqueue is part of, or null: for the
  // message when it fails. On the thread that enqueues.
  void name_next(const char* op) { next_name_ = op; }
  // Calls told, on the stream's thread, after everything enqueued before it: with null, or with the
  // error that poisoned the stream. told must not throw.
  void when_done(std::function<void(const Error* failure)> told);
  // Where ops on CUDA tensors go; made on first use. Only for work on the stream's thread.
  DeviceQueue& device();

 private:
  struct Item {
    std::function<void()> work;
    std::function<void(const Error* failure)> told;
    const char* op = nullptr;
  };

  void push(Item item);
  void loop();
  void run(const Item& item);
  void note(const char* op);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  std::optional<Error> failure_;  // written by the stream's thread, under the mutex
  bool stopping_ = false;
  const char* next_name_ = nullptr;
  std::vector<const char*> since_wait_;  // ops that the device may not have finished, once each
  std::unique_ptr<DeviceQueue> device_;
  std::thread thread_;
};

}  // namespace capi
