#!/usr/bin/env bash
# What users get: makes the release tarball with its prebuilt binary, installs it into an empty folder with no compiler on
# PATH and no install scripts, and uses it from ES modules, CommonJS, TypeScript and the command line.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
work=$(mktemp -d)
source=$repository/build/package
trap 'rm -rf "$work" "$source"' EXIT

step() { echo "check_package: $*"; }

step "prebuilt binary"
# In a copy, since node-gyp deletes build/; of the tracked files, so that nothing else can slip into the tarball.
rm -rf "$source"
mkdir -p "$source"
git ls-files -z | tar --null --files-from=- --create | tar --extract --directory "$source"
ln -s "$repository/node_modules" "$source/node_modules"
cd "$source"
nvcc=$(bash scripts/find_nvcc.sh 2>/dev/null) || {
  step "no nvcc here, so this binary has no CUDA kernels"
  export CAPI_CUDA=OFF
}
# With the flags that cmake-js sets, ccache knows the files again.
CXXFLAGS=-DBUILDING_NODE_EXTENSION CAPI_WARNINGS_AS_ERRORS=ON npm run --silent prebuilds >"$work/prebuild.log" 2>&1 || { tail -n 30 "$work/prebuild.log"; exit 1; }
ls prebuilds/linux-x64/*.node

step "tarball"
npm pack --silent --pack-destination "$work" >"$work/pack.log" 2>&1 || { tail -n 30 "$work/pack.log"; exit 1; }
tarball=$(ls "$work"/capi-vit-*.tgz)
tar --list --file "$tarball" >"$work/contents"
for file in dist/index.js dist/index.cjs dist/index.d.ts dist/index.d.cts dist/cli.js dist/loader_worker.js \
  prebuilds/linux-x64/capi-vit.node native/addon/addon.cpp CMakeLists.txt binding.gyp configs/tiny.yaml LICENSE; do
  grep -qx "package/$file" "$work/contents" || { echo "missing from the tarball: $file"; exit 1; }
done
if grep -E '^package/(test|benchmarks|docs|\.ci|node_modules|build)' "$work/contents"; then
  echo "these should not be in the tarball"
  exit 1
fi
echo "$(du -h "$tarball" | cut -f1) packed"

step "installation without a compiler and without scripts"
mkdir "$work/bin" "$work/user"
for tool in node npm npx sh env; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
bare() { PATH=$work/bin "$@"; }
cd "$work/user"
echo '{ "name": "user", "private": true }' >package.json
bare npm install --silent --ignore-scripts --no-audit --no-fund "$tarball"

step "ES modules, CommonJS, command line"
cat >esm.mjs <<'JS'
import { train, CapiError } from 'capi-vit';
if (typeof train !== 'function' || !(new CapiError('ERR_CAPI_DATA', '') instanceof Error)) throw new Error('esm');
JS
cat >cjs.cjs <<'JS'
const { train, CapiError } = require('capi-vit');
if (typeof train !== 'function' || !(new CapiError('ERR_CAPI_DATA', '') instanceof Error)) throw new Error('cjs');
JS
bare node esm.mjs
bare node cjs.cjs
bare npx --no-install capi doctor
if [ -n "$nvcc" ]; then bare node -e '
  const { cuda } = JSON.parse(require("node:child_process").execFileSync("npx", ["--no-install", "capi", "doctor", "--json"]));
  if (!cuda.built) throw new Error("Expected a prebuilt binary with CUDA kernels");'
fi

step "types"
cat >types.mts <<'TS'
import { train, type TrainResult } from 'capi-vit';
export const run: (...options: Parameters<typeof train>) => Promise<TrainResult> = train;
TS
cat >types.cts <<'TS'
import { train, type TrainResult } from 'capi-vit';
export const run: (...options: Parameters<typeof train>) => Promise<TrainResult> = train;
TS
node "$repository/node_modules/typescript/bin/tsc" --noEmit --strict --module NodeNext --target ES2022 \
  --lib ES2023,ESNext.Disposable --types node --typeRoots "$repository/node_modules/@types" types.mts types.cts
step "passed"
