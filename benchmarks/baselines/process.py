"""What the baseline programs share: a tuned allocator, memory readings and the line protocol.

A program started with --serve prints one JSON line when ready ({"ready": true, ...}), then answers
each input line with one JSON line, so that a driver can let two implementations take turns.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import torch

# glibc returns large blocks to the system at every free; a step would then spend a third of its time in page faults.
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
    "MALLOC_TOP_PAD_": str(256 << 20),
}

MODES = {
    "eager": lambda f: f,
    "compile": lambda f: torch.compile(f, dynamic=False),
    "reduce-overhead": lambda f: torch.compile(f, dynamic=False, mode="reduce-overhead"),  # CUDA graphs
}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def restart_tuned(threads: int, allocator: str) -> None:
    """Runs this program again with the environment that glibc and OpenMP read only once, at start."""
    wanted = {"OMP_NUM_THREADS": str(threads), **(TUNED_ALLOCATOR if allocator == "tuned" else {})}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    torch.set_num_threads(threads)


def memory(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak(device: str = "cpu") -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def timed_on_device(work: Callable[[], object], count: int) -> list[float]:
    """Between two events on the GPU, after one call untimed: the mean of the calls, whose launches overlap with kernels."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work()
    begin.record()
    for _ in range(count):
        work()
    end.record()
    end.synchronize()
    return [begin.elapsed_time(end) / 1e3 / count]


def timed(work: Callable[[], object], count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def answer(data: dict) -> None:
    print(json.dumps(data), flush=True)


def reason(error: BaseException) -> str:
    """One line: what was wrong in the first place, not where a compiler wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".split("\n")[0]


def serve(ready: dict, commands: dict[str, Callable[[list[str]], dict]]) -> None:
    answer({"ready": True, **ready})
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words[0] == "quit":
            return
        if words[0] not in commands:
            answer({"error": f"unknown command {words[0]}; known: {', '.join(commands)}, quit"})
            continue
        try:
            answer(commands[words[0]](words[1:]))
        except Exception as error:  # the driver shows it and goes on with the next case
            answer({"error": reason(error)})
