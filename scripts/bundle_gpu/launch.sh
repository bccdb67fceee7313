# Sourced by the commands beside it. Sets `bundle`; `place`, where what is packed in it is unpacked; and `node` to the bundle's own
# Node, unpacked on first use. Chooses the build of the addon that everything after loads: with --interpreter the one that runs
# the kernels on the CPU.
set -euo pipefail
bundle=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# <packed> <file>: with xz, or with the Python that most hosts with a GPU have.
unpack() {
  if command -v xz >/dev/null; then
    xz --decompress --stdout "$1" >"$2"
  elif command -v python3 >/dev/null; then
    python3 -c 'import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[2], "wb") as file: shutil.copyfileobj(packed, file)' "$1" "$2"
  else
    fail "Expected xz or python3 on PATH, to unpack the bundle, but found neither; install xz-utils"
  fi
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "Expected Linux on x86-64 but this is $(uname -sm)"
place=$bundle
if [ ! -w "$bundle" ]; then
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
fi
node=$place/node
if [ ! -x "$node" ]; then
  echo "unpacking Node to $node (86 MB)"
  unpack "$bundle/node.xz" "$node.part"
  chmod +x "$node.part"
  mv "$node.part" "$node"
fi

# Those of another Node have no place here.
unset NODE_OPTIONS NODE_PATH
export CAPI_ADDON=$bundle/addon/capi.node
for argument in "$@"; do
  [ "$argument" = --interpreter ] || continue
  export CAPI_ADDON=$bundle/interpreter/capi.node CAPI_CUBLASLT=$bundle/interpreter/libcublaslt_stand_in.so
done
