#!/usr/bin/env bash
# The tests of ops on the CUDA kernels, run by the interpreter on the CPU (test/interpreter). Arguments go to jest; with
# TEST_RESULTS=<folder>, results are written there as JSON.
set -euo pipefail
cd "$(dirname "$0")/.."

CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} npm run --silent build:interpreter
results=()
[ -z "${TEST_RESULTS:-}" ] || results=(--json --outputFile "$TEST_RESULTS/interpreter.json")
# The ops that have CUDA kernels.
if [ $# -eq 0 ]; then
  set -- test/interpreter \
    test/ops/attention \
    test/ops/gemm \
    test/ops/l2_normalize \
    test/ops/optim \
    test/ops/rms_norm \
    test/ops/rope \
    test/ops/tensor \
    test/ops/weight_norm
fi
CAPI_ADDON=$PWD/build-interpreter/Release/capi.node CAPI_CUBLASLT=$PWD/build-interpreter/Release/libcublaslt_stand_in.so \
  CAPI_TEST_BACKEND=cuda NODE_OPTIONS=--experimental-vm-modules \
  node_modules/.bin/jest "$@" "${results[@]}"
