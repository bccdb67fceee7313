#!/usr/bin/env bash
# What nvcc made of each kernel, on every architecture of a build by scripts/build_cuda.sh: registers, static shared memory
# (the kernels' own is dynamic), stack, spills. Fails where a kernel spills registers to memory and, where there is a
# cuobjdump, where a kernel that multiplies matrices has no tensor core instruction, or the residual stream is stored in pieces
# of less than 16 bytes. Compiles every kernel file again.
#
#   scripts/check_cuda.sh [build folder]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}

fail() {
  echo "check_cuda: $*" >&2
  exit 1
}

commands=$build/compile_commands.json
grep -q '\.cu"' "$commands" 2>/dev/null || fail "$build holds no CUDA build; run npm run build:cuda first"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# One script a kernel file, which compiles it as the build does, with a report, into the folder.
node -e '
  const { readFileSync, writeFileSync } = require("node:fs");
  const [commands, folder] = process.argv.slice(1);
  for (const { directory, command, file } of JSON.parse(readFileSync(commands, "utf8"))) {
    if (!file.endsWith(".cu")) continue;
    const name = file.slice(file.lastIndexOf("/") + 1, -3);
    const again = command.replace(/ -o \S+/, "") + ` -Xptxas=-v -o ${folder}/${name}.o`;
    writeFileSync(`${folder}/${name}.sh`, `cd ${directory} && ${again}\n`);
  }' "$commands" "$folder"
find "$folder" -name '*.sh' -print0 | xargs -0 -P "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" -I {} bash -c 'bash {} >{}.log 2>&1 || { cat {}.log >&2; exit 255; }'

# ptxas writes three lines a kernel: its name and target, its stack and spills, its registers.
report() {
  awk -v file="$1" '
    /Compiling entry function/ { split($0, quoted, "\047"); name = quoted[2]; target = quoted[4] }
    /Function properties for/ { entry = ($NF == name); called = $NF }
    /bytes stack frame/ {
      if (entry) { stack = $1; spills = $5 + $9 }
      else if ($5 + $9 > 0) printf "%s\t%s\t-\t-\t%d\t%d\t%s, called by %s\n", file, target, $1, $5 + $9, called, name
    }
    /Used [0-9]+ registers/ {
      registers = shared = 0
      for (i = 1; i <= NF; i++) {
        if ($i == "Used") registers = $(i + 1)
        if ($i ~ /^smem/) shared = $(i - 1)
      }
      printf "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", file, target, registers, shared, stack, spills, name
    }'
}
table=$folder/table
for log in "$folder"/*.sh.log; do
  report "$(basename "$log" .sh.log)" <"$log"
done | c++filt | sed -E 's/void capi::\(anonymous namespace\)::|capi::\(anonymous namespace\)::|capi:://g; s/\(.*\)$//' >"$table"
[ -s "$table" ] || fail "nvcc reported no kernel"
{
  printf 'file\ttarget\tregisters\tshared\tstack\tspills\tkernel\n'
  cat "$table"
} | column -t -s $'\t'

spilling=$(awk -F '\t' '$6 > 0' "$table" | wc -l)
echo "check_cuda: $(wc -l <"$table") kernels, $spilling with spills"
[ "$spilling" -eq 0 ] || fail "the kernels above with spills keep registers in memory"

# Kernels whose PTX has mma must have tensor core instructions in the machine code of every architecture.
beside_nvcc=$(dirname "$(bash scripts/find_nvcc.sh)")
export PATH=$PATH:$beside_nvcc # cuobjdump calls nvdisasm
if ! cuobjdump=$(command -v "${CUOBJDUMP:-cuobjdump}"); then
  echo "check_cuda: no cuobjdump here, so the machine code was not looked at"
  exit 0
fi
multiplying=0
storing=0
for object in "$folder"/*.o; do
  "$cuobjdump" -ptx "$object" >"$folder/ptx"
  "$cuobjdump" -sass "$object" >"$folder/sass"
  awk '/\.entry / { name = $0; sub(/.*\.entry +/, "", name); sub(/[^A-Za-z0-9_$].*/, "", name) }
       /(^|[^a-z])(mma|wgmma)[._]/ { print name }' "$folder/ptx" | sort -u >"$folder/expected"
  awk '/code for sm_/ { target = $NF }
       /Function : / { kernel = target "\t" $NF; seen[kernel] = 0 }
       /[^A-Z](HMMA|HGMMA|UTC[A-Z]*MMA)/ { seen[kernel] = 1 }
       END { for (kernel in seen) print seen[kernel] "\t" kernel }' "$folder/sass" | sort >"$folder/found"
  while read -r name; do
    multiplying=$((multiplying + 1))
    grep -q "$(printf '\t')$name\$" "$folder/found" || fail "$name has no machine code in $object"
    missing=$(awk -F '\t' -v name="$name" '$3 == name && $1 == 0 { print $2 }' "$folder/found")
    [ -z "$missing" ] || fail "$name uses no tensor cores on $(echo $missing)"
  done <"$folder/expected"

  # nvcc may split a store of 16 bytes, which no test on the interpreter sees.
  narrow=$(awk '/code for sm_/ { target = $NF }
                /Function : / { kernel = /residual_(forward|gather)_kernelILi[48]/ ? $NF " on " target : "" }
                kernel != "" && /STG\.E(\.U16)? / { print kernel }' "$folder/sass" | sort -u)
  [ -z "$narrow" ] || fail "stores of less than 16 bytes in $narrow"
  storing=$((storing + $(grep -cE 'Function : .*residual_(forward|gather)_kernelILi[48]' "$folder/sass" || true)))
done
[ "$storing" -gt 0 ] || fail "no kernel of the residual stream was found"
echo "check_cuda: $multiplying kernels multiply matrices, all on tensor cores"
