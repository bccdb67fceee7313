#include "core/stream.h"

#include <utility>

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
  push({std::move(work), {}});
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
    if (item.work && !failure_) item.work();
    // Kernels that were only launched may still fail.
    if (item.told && !failure_ && device_) device_->synchronize();
  } catch (...) {
    std::lock_guard<std::mutex> lock(mutex_);
    failure_ = current_error();
  }
  if (item.told) item.told(failure_ ? &*failure_ : nullptr);
}

}  // namespace capi
