#!/usr/bin/env bash
# Builds the addon with its CUDA kernels into build/, where it replaces the one without. Needs nvcc: the first of CUDACXX, the
# PATH, CUDA_HOME and /usr/local/cuda that has one. No GPU and no driver are needed. CAPI_CUDA_ARCHITECTURES (such as "90a-real") limits what is
# compiled for.
set -euo pipefail
cd "$(dirname "$0")/.."

find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" /usr/local/cuda/bin/nvcc; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then
      echo "$candidate"
      return
    fi
  done
  echo "Expected nvcc of CUDA 12.4 or newer in PATH, CUDA_HOME/bin or /usr/local/cuda/bin but found none." >&2
  echo "Install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads) or set CUDACXX to its nvcc." >&2
  return 1
}

nvcc=$(find_nvcc)
"$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/CUDA \1/p'
options=("--CDCAPI_CUDA=ON" "--CDCMAKE_CUDA_COMPILER=$nvcc")
[ -z "${CAPI_CUDA_ARCHITECTURES:-}" ] || options+=("--CDCMAKE_CUDA_ARCHITECTURES=$CAPI_CUDA_ARCHITECTURES")
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} node_modules/.bin/cmake-js build --out build "${options[@]}"
