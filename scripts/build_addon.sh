#!/usr/bin/env bash
# Configures and builds the addon in a folder. `cmake-js build` alone would keep the options of the folder's first build.
#
#   scripts/build_addon.sh <folder> [options of cmake-js]
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?Expected a folder to build in}
shift
# Make, unlike Ninja, builds with one process unless told.
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
node_modules/.bin/cmake-js configure --out "$folder" "$@"
node_modules/.bin/cmake-js build --out "$folder"
