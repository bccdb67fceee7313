#!/bin/sh
# Called by binding.gyp: builds the addon with CMake and puts it into the folder named by the one argument.
# The tree is build-gyp because `node-gyp rebuild` deletes build.
set -eu
cd "$(dirname "$0")/.."
destination=$1

if ! command -v cmake >/dev/null; then
  echo "capi-vit: no prebuilt binary fits this machine, and building one needs g++, make and cmake (3.18 or newer)" >&2
  exit 1
fi

# Another compiler may warn of other things: that must not stop an installation.
# CAPI_CUDA=ON compiles the CUDA kernels too, which needs nvcc.
cmake -S . -B build-gyp -DCMAKE_BUILD_TYPE=Release -DCAPI_WARNINGS_AS_ERRORS="${CAPI_WARNINGS_AS_ERRORS:-OFF}" \
  -DCAPI_CUDA="${CAPI_CUDA:-OFF}"
cmake --build build-gyp --parallel "$(nproc)"
mkdir -p "$destination"
cp build-gyp/capi.node "$destination/capi.node"
