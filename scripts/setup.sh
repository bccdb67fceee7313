#!/usr/bin/env bash
# From a fresh clone to a built package: system packages, npm packages, the native addon, the bundle. Does only what is
# missing or stale, says what it does, and is silent when there is nothing to do.
#
#   --demo      also the Fashion-MNIST images, when Debian's package of them is available
#   --release   also what packaging needs
set -euo pipefail
cd "$(dirname "$0")/.."
log_folder=build/log

main() {
  require_node
  install_system_packages "$@"
  install_npm_packages
  build_addon
  build_bundle
  link_command
}

say() { echo "setup: $*"; }

fail() {
  echo "setup: $*" >&2
  exit 1
}

require_node() {
  command -v node >/dev/null || fail "Node 20 or newer is needed and is not on PATH: https://nodejs.org"
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node 20 or newer is needed; this is $(node --version)"
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "only Linux on x86-64 is supported; this is $(uname -sm)"
}

install_system_packages() {
  local packages=() reasons=()
  want() { # <package> <reason>
    packages+=("$1")
    reasons+=("$1 ($2)")
  }
  command -v g++ >/dev/null || want g++ "compiles the native addon"
  command -v cmake >/dev/null || want cmake "drives that build"
  command -v make >/dev/null || command -v ninja >/dev/null || want make "runs it"
  case " $* " in *" --release "*) command -v python3 >/dev/null || want python3 "runs node-gyp" ;; esac
  if [ ${#packages[@]} -gt 0 ]; then
    local list
    list=$(printf ', %s' "${reasons[@]}")
    command -v apt-get >/dev/null || fail "please install ${list:2}"
    say "installing ${list:2}"
    run_step "installing system packages" apt apt_install "${packages[@]}"
  fi
  case " $* " in *" --demo "*) install_demo_images ;; esac
}

# The demo can also download them or be given a folder, so failing here is no failure.
install_demo_images() {
  [ -d /usr/share/datasets/fashion-mnist ] && return
  command -v apt-get >/dev/null || return 0
  say "installing dataset-fashion-mnist (the images of the demo, 31 MB)"
  mkdir -p $log_folder
  apt_install dataset-fashion-mnist >$log_folder/dataset.log 2>&1 ||
    say "there is no such package here; the demo will download the images"
}

apt_install() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "not root and no sudo: run \`apt-get install $*\` as root"
      return 1
    }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

install_npm_packages() {
  # A linked node_modules belongs to another checkout.
  [ -L node_modules ] && return
  [ node_modules/.package-lock.json -nt package-lock.json ] && return
  say "installing npm packages"
  # Scripts are left out: ours would compile the addon, which the next step does; the others ship binaries.
  run_step "npm ci" npm npm ci --ignore-scripts --no-audit --no-fund
}

build_addon() {
  local stamp=build/.addon-is-current
  is_current $stamp CMakeLists.txt native && [ -f build/Release/capi.node ] && return
  [ -f build/CMakeCache.txt ] || say "compiling the native addon (a few minutes the first time)"
  # Without options: what was chosen for the folder before, such as CUDA kernels, stays.
  run_step "compiling the native addon" native bash scripts/build_addon.sh build
  touch $stamp
}

build_bundle() {
  is_current dist/cli.js lib package.json tsup.config.ts tsconfig.json && return
  run_step "bundling with tsup" bundle node_modules/.bin/tsup
}

# So that `npx capi` runs this checkout instead of installing it somewhere else.
link_command() {
  chmod +x dist/cli.js
  [ -L node_modules ] || ln -sf ../../dist/cli.js node_modules/.bin/capi
}

# <result> <inputs…>: the result exists and no input is newer.
is_current() {
  local result=$1
  shift
  [ -e "$result" ] && [ -z "$(find "$@" -newer "$result" -type f -print -quit)" ]
}

# <what> <log name> <command…>: runs it with the output in a log, showing the build's progress.
run_step() {
  local what=$1 log=$log_folder/$2.log
  shift 2
  mkdir -p $log_folder
  "$@" >"$log" 2>&1 &
  local process=$! shown="" now
  trap 'kill $process 2>/dev/null' INT TERM
  while sleep 1 && kill -0 $process 2>/dev/null; do
    # Make prints "[ 12%] Building …", Ninja "[3/24] Building …".
    now=$(grep -oE '^\[ *[0-9]+(%|/[0-9]+)\]' "$log" 2>/dev/null | tail -1 || true)
    [ "$now" = "$shown" ] && continue
    shown=$now
    if [ -t 1 ]; then
      printf '\r  %s %s ' "$what" "$now"
    elif [ $((SECONDS / 20)) -ne "${last_line:-0}" ]; then
      last_line=$((SECONDS / 20))
      echo "  $what $now"
    fi
  done
  trap - INT TERM
  if [ -t 1 ] && [ -n "$shown" ]; then printf '\n'; fi
  wait $process || {
    tail -n 25 "$log" >&2 || true
    fail "$what failed; the whole output is in $log"
  }
}

main "$@"
