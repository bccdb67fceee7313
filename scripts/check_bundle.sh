#!/usr/bin/env bash
# The GPU bundle as its user gets it: makes it (and what it is made of, where that is missing or stale), unpacks the one file in an
# empty folder, and runs it with no Node and no compiler on PATH. Needs nvcc, no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() { echo "check_bundle: $*"; }

fail() {
  step "$@" >&2
  exit 1
}

step "the bundle"
bash scripts/bundle_gpu.sh >"$work/build.log" 2>&1 || {
  tail -n 30 "$work/build.log"
  fail "the bundle could not be made"
}
tail -n 1 "$work/build.log"
tar --extract --file build/capi-gpu.tar --directory "$work"

mkdir "$work/bin"
for tool in bash chmod dirname mktemp mv readlink rm uname xz; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
cd "$work"
# <command and arguments>: with nothing but these tools, and no GPU where there is one.
bare() { env -i PATH="$work/bin" HOME="$work" CUDA_VISIBLE_DEVICES= "$@"; }
gpu_check() { bare capi-gpu/gpu-check "$@"; }
gpu_bench() { bare capi-gpu/gpu-bench "$@"; }

# <file> <expression of `result`>: what a JSON file must say.
expect() {
  node -e '
    const [file, truth] = process.argv.slice(1);
    const result = JSON.parse(require("node:fs").readFileSync(file, "utf8"));
    const stage = (name) => result.stages.find((one) => one.name === name);
    if (!new Function("result", "stage", `return ${truth}`)(result, stage)) throw new Error(`Expected of ${file}: ${truth}`);
  ' "$@"
}

step "without a GPU it says what is missing, and ends"
gpu_check --json no_gpu.json >no_gpu.log && fail "a check without a GPU passed"
grep '^to fix ' no_gpu.log || fail "nothing is said to be fixed"
expect no_gpu.json 'result.device === "no GPU" && !result.passed && result.stages.length === 1'
gpu_bench >no_gpu_bench.log 2>&1 && fail "a benchmark without a GPU passed"
grep -q '^Expected a CUDA device' no_gpu_bench.log || fail "gpu-bench does not say what is missing"

step "on the interpreter everything passes"
gpu_check --interpreter --json interpreter.json || fail "not everything passed"
expect interpreter.json 'result.device === "interpreter (no GPU)" && result.passed'
for stage in ops graph trajectory demo; do expect interpreter.json "stage('$stage').state === 'passed'"; done

step "gpu-bench runs on the interpreter"
gpu_bench --interpreter --quick --only 'trial bf16' --json bench.jsonl >bench.log || {
  cat bench.log
  fail "the benchmark failed"
}
head -n 1 bench.jsonl >bench.json
expect bench.json 'result.device.gpu.name === "interpreter" && result.commit.length === 40'
grep -q '"suite":"step"' bench.jsonl || fail "no training step was timed"

step "failures and crashes are named, what comes after them is run, and python3 unpacks too"
rm capi-gpu/node bin/xz
ln -s "$(python3 -c 'import sys; print(sys.executable)')" bin/python3
cat >capi-gpu/js/tests/ops/planted.js <<'JS'
import '../../jest_on_node.js';
test('a planted failure', () => expect(1).toBe(2));
test('a planted crash', () => process.kill(process.pid, 'SIGSEGV'));
JS
cat >capi-gpu/js/tests/trajectory/planted.js <<'JS'
import '../../jest_on_node.js';
test('what comes after', () => expect(1).toBe(1));
JS
gpu_check --interpreter --only planted --json planted.json >planted.log && fail "planted failures passed"
grep -q 'FAILED  planted: a planted failure' planted.log || fail "the failure is not named"
grep -q 'ended with SIGSEGV' planted.log || fail "the crash is not named"
expect planted.json 'stage("ops").tests.map((test) => test.name).join() === "a planted failure,a planted crash"'
expect planted.json 'stage("trajectory").state === "passed" && !result.passed'
step "passed"
