#!/usr/bin/env bash
# prebuilds/linux-x64/capi-vit.node, for a release. Run it as `npm run prebuilds`: it needs npm's node-gyp, and Python.
# It deletes build/, as node-gyp does. One binary serves machines with and without a GPU, so it needs nvcc;
# CAPI_CUDA=OFF leaves the CUDA kernels out.
set -euo pipefail
cd "$(dirname "$0")/.."

export CAPI_CUDA=${CAPI_CUDA:-ON}
if [ "$CAPI_CUDA" = ON ]; then
  CUDACXX=$(bash scripts/find_nvcc.sh)
  export CUDACXX
fi

# node-gyp would download Node's headers. CMake takes them from npm packages, so empty settings will do.
settings=$PWD/build-gyp/node
mkdir -p "$settings/include/node"
echo '{}' >"$settings/include/node/common.gypi"
echo "{'target_defaults': {}, 'variables': {}}" >"$settings/include/node/config.gypi"

npm_config_nodedir=$settings prebuildify --napi --strip -t "$(node -p process.versions.node)"
