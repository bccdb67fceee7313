#!/usr/bin/env bash
# Layout and lint of TypeScript (Biome) and layout of C++ (clang-format, where there is one). Changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

node_modules/.bin/biome ci --error-on-warnings .
if command -v clang-format >/dev/null; then
  git ls-files -z 'native/*.h' 'native/*.cpp' 'native/*.cu' 'test/interpreter/*.h' 'test/interpreter/*.cpp' 'test/interpreter/*.cu' | xargs -0 clang-format --dry-run -Werror
else
  echo "lint: no clang-format here, so the layout of native/ was not checked"
fi
