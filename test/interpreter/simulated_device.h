// The device that the stand-in for the CUDA runtime has: a small sound one, or what a test asks for
// by environment variables.
//
//   CAPI_INTERPRETER_DRIVER=12040     the newest CUDA that the driver knows; 0: there is no driver
//   CAPI_INTERPRETER_DEVICES=0        how many devices there are
//   CAPI_INTERPRETER_CAPABILITY=7.5   the compute capability
//   CAPI_INTERPRETER_SHARED=101376    shared memory that a block may have
//   CAPI_INTERPRETER_BUSY=1           another process has the device to itself
//   CAPI_INTERPRETER_BYTES=1000000    device memory
//   CAPI_INTERPRETER_PINNED=100       the largest piece of host memory that can be page-locked
//   CAPI_INTERPRETER_FAULT=500        the 500th kernel that runs faults
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace capi::interpreter {

constexpr int kRuntimeVersion = 13000;

struct SimulatedDevice {
  int driver_version = kRuntimeVersion;
  int devices = 1;
  int major = 8, minor = 0;
  bool busy = false;
  // What a small device would have: out-of-memory paths can be reached.
  size_t bytes = size_t{1} << 30;
  size_t shared_bytes = kMostSharedBytes;
  size_t pinned_bytes = size_t{1} << 30;
  long faulting_launch = 0;  // 0: none
};

const SimulatedDevice& simulated_device();

// Counts a kernel that is about to run. True: it faults, and as on a GPU nobody is told now, but
// every later call of the runtime fails.
bool launch_faults();
bool device_has_faulted();

}  // namespace capi::interpreter
