#!/usr/bin/env bash
# npm test: all tests on the CPU, then those of ops on the CUDA kernels in the interpreter. Arguments choose tests of the
# first kind and leave out the second. With TEST_RESULTS=<folder>, results are written there as JSON.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
results=()
[ -z "${TEST_RESULTS:-}" ] || results=(--json --outputFile "$TEST_RESULTS/jest.json")
failed=0
NODE_OPTIONS=--experimental-vm-modules node_modules/.bin/jest "$@" "${results[@]}" || failed=1
if [ $# -eq 0 ]; then
  echo "== CUDA kernels in the interpreter =="
  bash scripts/test_interpreter.sh || failed=1
fi
exit $failed
