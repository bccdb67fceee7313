// An ordered queue of work on one device. The CPU stream is one thread that runs ops in order, so
// that the caller (Node's event loop) stays free while kernels compute.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace capi {

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Finishes the work that is running and joins; what is queued, now or later, never runs. Only for
  // tear-down: nobody waits any more.
  void stop();
  // Runs work after everything enqueued before it. Work must not throw.
  void enqueue(std::function<void()> work);
  // Blocks the caller until everything enqueued so far has run. Not for the JavaScript thread.
  void wait();

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace capi
