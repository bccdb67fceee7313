"""Times the whole CAPI training step in PyTorch on random images.

    python step.py --size vit_s --dtype float32 --mode compile --threads 2 --steps 5
    python step.py --size tiny --serve        # then "run N" lines on stdin
"""

import argparse
import os
import statistics
import time
from itertools import cycle

import torch
from capi_torch import SHAPES, Trainer, random_batch
from process import DTYPES, MODES, answer, memory, reset_peak, restart_tuned, serve, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="tiny")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--optimizer", choices=["loop", "foreach", "fused"], help="default: fused on a GPU, else foreach")
    parser.add_argument("--allocator", choices=["tuned", "default"], default="tuned")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    args.optimizer = args.optimizer or ("fused" if args.device == "cuda" else "foreach")
    restart_tuned(args.threads, args.allocator)

    rss_before = memory("VmRSS")
    torch.manual_seed(0)
    shape, dtype = SHAPES[args.size], DTYPES[args.dtype]
    with torch.device(args.device):
        trainer = Trainer(shape, dtype, MODES[args.mode], args.optimizer)
    generator = torch.Generator().manual_seed(1)
    batches = cycle([random_batch(shape, dtype, generator).to(args.device) for _ in range(3)])

    losses: dict[str, float] = {}

    def step() -> None:
        nonlocal losses
        losses = {name: value.item() for name, value in trainer.step(next(batches)).items()}

    start = time.perf_counter()
    timed(step, args.warmup)
    warmup_seconds = time.perf_counter() - start
    reset_peak(args.device)

    def run(words: list[str]) -> dict:
        cpu_start = time.process_time()
        seconds = timed(step, int(words[0]) if words else args.steps)
        cpu_seconds = (time.process_time() - cpu_start) / len(seconds)
        rates = [shape.batch / s for s in seconds]
        return {
            "images_per_s": {"median": statistics.median(rates), "min": min(rates), "max": max(rates)},
            "seconds": seconds,
            "cpu_seconds_a_step": cpu_seconds,  # of all threads: what is left to compare on a busy machine
            "peak_rss_bytes": memory("VmHWM"),
            "rss_before_model_bytes": rss_before,
            **({"device_peak_bytes": torch.cuda.max_memory_allocated()} if args.device == "cuda" else {}),
            **losses,
        }

    about = {
        "implementation": "pytorch",
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **{name: getattr(args, name) for name in ("size", "dtype", "mode", "device", "optimizer", "allocator", "threads")},
        "images": shape.batch,
        "warmup_seconds": warmup_seconds,
    }
    if args.serve:
        serve(about, {"run": run})
    else:
        answer({**about, **run([])})


if __name__ == "__main__":
    main()
