#!/usr/bin/env bash
# The tests of ops on the CUDA kernels, run by the interpreter on the CPU (test/interpreter). Arguments go to jest; with
# TEST_RESULTS=<folder>, results are written there as JSON.
set -euo pipefail
cd "$(dirname "$0")/.."

npm run --silent build:interpreter
results=()
[ -z "${TEST_RESULTS:-}" ] || results=(--json --outputFile "$TEST_RESULTS/interpreter.json")
if [ $# -eq 0 ]; then set -- test/interpreter test/ops; fi
CAPI_ADDON=$PWD/build-interpreter/Release/capi.node CAPI_CUBLASLT=$PWD/build-interpreter/Release/libcublaslt_stand_in.so \
  CAPI_TEST_BACKEND=cuda NODE_OPTIONS=--experimental-vm-modules \
  node_modules/.bin/jest "$@" "${results[@]}"
