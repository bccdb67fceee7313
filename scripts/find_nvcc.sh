#!/usr/bin/env bash
# Prints the nvcc to build with: the first of CUDACXX, the PATH, CUDA_HOME and /usr/local/cuda that has one. Fails, saying
# what to do, where there is none.
set -euo pipefail
for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" /usr/local/cuda/bin/nvcc; do
  if [ -n "$candidate" ] && [ -x "$candidate" ]; then
    echo "$candidate"
    exit
  fi
done
echo "Expected nvcc of CUDA 12.4 or newer in CUDACXX, PATH, CUDA_HOME/bin or /usr/local/cuda/bin but found none." >&2
echo "Install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads) or set CUDACXX to its nvcc." >&2
exit 1
