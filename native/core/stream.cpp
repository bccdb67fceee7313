#include "core/stream.h"

#include <algorithm>
#include <utility>

#include "core/device.h"
#include "core/device_queue.h"

namespace capi {

Stream::Stream() : thread_([this] { loop(); }) {}

Stream::~Stream() { stop(); }

void Stream::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Stream::enqueue(std::function<void()> work) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) throw *failure_;
  }
  push({std::move(work), {}, std::exchange(next_name_, nullptr)});
}

void Stream::when_done(std::function<void(const Error* failure)> told) {
  push({{}, std::move(told)});
}

DeviceQueue& Stream::device() {
  if (!device_) device_ = std::make_unique<DeviceQueue>();
  return *device_;
}

void Stream::push(Item item) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(item));
  }
  changed_.notify_one();
}

void Stream::loop() {
  for (;;) {
    Item item;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    run(item);
  }
}

void Stream::run(const Item& item) {
  try {
    if (item.work && !failure_) {
      note(item.op);
      item.work();
    }
    // Kernels that were only launched may still fail.
    if (item.told && !failure_ && device_) device_->synchronize();
    if (item.told) since_wait_.clear();
  } catch (...) {
    const Error error = device_fault(current_error(), since_wait_);
    std::lock_guard<std::mutex> lock(mutex_);
    failure_ = error;
  }
  if (item.told) item.told(failure_ ? &*failure_ : nullptr);
}

void Stream::note(const char* op) {
  if (op == nullptr) return;
  since_wait_.erase(std::remove(since_wait_.begin(), since_wait_.end(), op), since_wait_.end());
  since_wait_.push_back(op);
}

}  // namespace capi
