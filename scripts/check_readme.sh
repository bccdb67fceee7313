#!/usr/bin/env bash
# Runs what README.md tells people to run: the lines of its ```sh blocks in order, and its ```ts blocks. `npm test` is left
# to the caller, who wants its results. Pictures must exist.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -oE '!\[[^]]*\]\([^)]+\)' README.md | sed -E 's/.*\((.*)\)/\1/' | while IFS= read -r picture; do
  [ -f "$picture" ] || { echo "README.md shows $picture, which does not exist"; exit 1; }
done

work=$(mktemp -d -p . .readme-XXXXXX) # inside, where `capi-vit` names this package
trap 'rm -rf "$work"' EXIT

awk -v folder="$work" '
  /^```sh$/ { shell = 1; next }
  /^```ts$/ { program = folder "/example_" ++programs ".mts"; next }
  /^```/    { shell = 0; if (program != "") print "npx tsx " program > (folder "/commands"); program = ""; next }
  shell && !/^(#|$)/   { print > (folder "/commands") }
  program != ""        { print > program }
' README.md

while IFS= read -r command; do
  [[ $command =~ ^npm\ test( |$) ]] && continue
  echo "\$ $command"
  bash -euo pipefail -c "$command" </dev/null
done <"$work/commands"
