#!/usr/bin/env bash
# Builds the addon with its CUDA kernels into build/, where it replaces the one without (`npm run build:native` brings that back), or into the folder after --out.
# Needs nvcc (scripts/find_nvcc.sh), no GPU and no driver.
#
#   scripts/build_cuda.sh [--out <folder>] [options of cmake-js, such as --CDCMAKE_CUDA_ARCHITECTURES=90a-real]
set -euo pipefail
cd "$(dirname "$0")/.."

out=build
if [ "${1:-}" = --out ]; then
  out=${2:?Expected a folder after --out}
  shift 2
fi
nvcc=$(bash scripts/find_nvcc.sh)
echo "build_cuda: $nvcc, CUDA $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
bash scripts/build_addon.sh "$out" --CDCAPI_CUDA=ON "--CDCMAKE_CUDA_COMPILER=$nvcc" "$@"
echo "build_cuda: $out/Release/capi.node, $(du -h "$out/Release/capi.node" | cut -f 1)"
CAPI_ADDON=$PWD/$out/Release/capi.node node -e '
  const { built, problem } = require(process.env.CAPI_ADDON).cuda();
  if (!built) throw new Error("Expected an addon with CUDA kernels");
  console.log("build_cuda:", problem ? `loads; not to be used on this machine: ${problem}` : "loads and finds a GPU");'
