#!/usr/bin/env bash
# The tests of ops with each build of the kernels. The AVX-512 ones run emulated (CAPI_EMULATE_AVX512), so that their
# logic is tested on any machine. Arguments go to jest; with TEST_RESULTS=<folder>, results are written there as JSON.
set -euo pipefail
cd "$(dirname "$0")/.."

# CAPI_EMULATE_AVX512 is remembered by the folder.
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} npm run --silent build:emulated

failed=0
for isa in avx2 avx512 avx512_bf16; do
  echo "== ops with $isa kernels =="
  results=()
  [ -z "${TEST_RESULTS:-}" ] || results=(--json --outputFile "$TEST_RESULTS/isa_$isa.json")
  CAPI_ADDON=$PWD/build-emulated/Release/capi.node CAPI_CPU_ISA=$isa NODE_OPTIONS=--experimental-vm-modules \
    node_modules/.bin/jest test/ops "${results[@]}" "$@" || failed=1
done
exit $failed
