#include "simulated_device.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace capi::interpreter {

namespace {

std::atomic<long> launches{0};
std::atomic<bool> faulted{false};

long number(const char* variable, long otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atol(text);
}

SimulatedDevice asked_for() {
  SimulatedDevice device;
  device.driver_version =
      static_cast<int>(number("CAPI_INTERPRETER_DRIVER", device.driver_version));
  device.devices = static_cast<int>(number("CAPI_INTERPRETER_DEVICES", device.devices));
  if (const char* capability = std::getenv("CAPI_INTERPRETER_CAPABILITY")) {
    std::sscanf(capability, "%d.%d", &device.major, &device.minor);
  }
  device.busy = number("CAPI_INTERPRETER_BUSY", device.busy) != 0;
  device.bytes =
      static_cast<size_t>(number("CAPI_INTERPRETER_BYTES", static_cast<long>(device.bytes)));
  device.shared_bytes = static_cast<size_t>(
      number("CAPI_INTERPRETER_SHARED", static_cast<long>(device.shared_bytes)));
  device.pinned_bytes = static_cast<size_t>(
      number("CAPI_INTERPRETER_PINNED", static_cast<long>(device.pinned_bytes)));
  device.faulting_launch = number("CAPI_INTERPRETER_FAULT", device.faulting_launch);
  return device;
}

}  // namespace

const SimulatedDevice& simulated_device() {
  static const SimulatedDevice device = asked_for();
  return device;
}

bool launch_faults() {
  if (++launches == simulated_device().faulting_launch) faulted = true;
  return faulted;
}

bool device_has_faulted() { return faulted; }

}  // namespace capi::interpreter
