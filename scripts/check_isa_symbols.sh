#!/usr/bin/env bash
# Kernel files are compiled with instructions that a machine may lack. Whatever symbol they define must therefore lie in
# their own namespace capi::<isa>: the linker keeps one copy of an inline function, and it could be theirs.
#
#   scripts/check_isa_symbols.sh [build folder]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}

objects=0
foreign=0
for isa in avx2 avx512 avx512_bf16; do
  # Itanium mangling: capi::avx2::name is _ZN4capi4avx24nameE; a leading TV, GV, Z… marks tables, guards and locals.
  own="^_Z(TV|TT|TI|TS|GV|GR|Z)*NK?4capi${#isa}$isa"
  while IFS= read -r -d '' object; do
    objects=$((objects + 1))
    while read -r symbol; do
      [[ $symbol =~ $own ]] && continue
      foreign=$((foreign + 1))
      echo "${object#"$build"/CMakeFiles/}: $(c++filt "$symbol") is defined outside capi::$isa"
    done < <(nm --extern-only --defined-only --format=posix "$object" | cut -d ' ' -f 1)
  done < <(find "$build/CMakeFiles/kernels_$isa.dir" -name '*.o' -print0)
done

[ "$objects" -gt 0 ] || { echo "check_isa_symbols: no kernel objects under $build; build first" >&2; exit 1; }
echo "check_isa_symbols: $objects kernel objects, $foreign foreign symbols"
[ "$foreign" -eq 0 ]
