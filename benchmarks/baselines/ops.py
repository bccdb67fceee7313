"""Times single pieces of the CAPI step in PyTorch, forward and backward, on random inputs.

    python ops.py --dtype float32 --mode compile --serve
    run attention:16,6,64,106 20        # case, repetitions; one JSON line comes back

Cases (numbers separated by commas):
    attention:b,h,d,n        coupled rope on q and k, softmax attention, gradients of q, k, v
    sinkhorn:positions,n,K   positionwise Sinkhorn-Knopp, clustering loss, gradient of the logits
    rms_norm:rows,dim        forward, gradients of x and weight
    adamw_ema:n              AdamW on n parameters, then their EMA
    gemm:m,n,k               x (m,k) @ weight (n,k) transposed
"""

import argparse
import os
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from capi_torch import coupled_rope, rope_frequencies, sinkhorn_knopp, soft_cross_entropy
from process import DTYPES, answer, memory, restart_tuned, serve, timed
from torch import Tensor

ROTATE = 3  # sets of inputs used in turn, so that the last level of cache does not flatter small cases


def attention(wrap, dtype, b: int, h: int, d: int, n: int) -> tuple[list[Callable[[], object]], float]:
    frequencies = rope_frequencies(d)

    def forward(q: Tensor, k: Tensor, v: Tensor, place: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (h, d)).transpose(1, 2) for x in (q, k, v))
        q, k = coupled_rope(q, place, frequencies), coupled_rope(k, place, frequencies)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    forward = wrap(forward)

    def case() -> Callable[[], object]:
        q, k, v = (torch.randn(b, n, h * d).to(dtype).requires_grad_() for _ in range(3))
        place, cotangent = torch.rand(b, 1, n, 2).to(dtype), torch.randn(b, n, h * d).to(dtype)
        return lambda: torch.autograd.grad(forward(q, k, v, place), (q, k, v), cotangent)

    return [case() for _ in range(ROTATE)], 7 * 2.0 * b * h * n * n * d


def sinkhorn(wrap, dtype, positions: int, n: int, clusters: int) -> tuple[list[Callable[[], object]], float]:
    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        assignments = sinkhorn_knopp(logits.detach() / 0.06)
        return assignments, soft_cross_entropy(logits.flatten(0, 1), assignments.flatten(0, 1), 0.12).mean()

    loss = wrap(loss)
    logits = torch.randn(positions, n, clusters).to(dtype).requires_grad_()

    def work() -> object:
        _, value = loss(logits)
        return torch.autograd.grad(value, logits)

    return [work], 0.0


def rms_norm(wrap, dtype, rows: int, dim: int) -> tuple[list[Callable[[], object]], float]:
    forward = wrap(lambda x, weight: F.rms_norm(x, (dim,), weight, 1e-5))

    def case() -> Callable[[], object]:
        x, weight = torch.randn(rows, dim).to(dtype).requires_grad_(), torch.ones(dim).to(dtype).requires_grad_()
        cotangent = torch.randn(rows, dim).to(dtype)
        return lambda: torch.autograd.grad(forward(x, weight), (x, weight), cotangent)

    return [case() for _ in range(ROTATE)], 0.0


def adamw_ema(wrap, dtype, n: int) -> tuple[list[Callable[[], object]], float]:
    """float32 whatever the dtype: masters and optimizer state always are."""
    parameter, ema = torch.randn(n, requires_grad=True), torch.randn(n)
    parameter.grad = torch.randn(n)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)

    @torch.no_grad()
    def update() -> None:
        optimizer.step()
        torch._foreach_mul_([ema], 0.999)
        torch._foreach_add_([ema], [parameter], alpha=0.001)

    return [wrap(update)], 0.0


def gemm(wrap, dtype, m: int, n: int, k: int) -> tuple[list[Callable[[], object]], float]:
    def case() -> Callable[[], object]:
        x, weight = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        return lambda: F.linear(x, weight)

    return [case() for _ in range(ROTATE)], 2.0 * m * n * k


CASES = {f.__name__: f for f in (attention, sinkhorn, rms_norm, adamw_ema, gemm)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="cases to time when not serving")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--mode", choices=["eager", "compile"], default="eager")
    parser.add_argument("--allocator", choices=["tuned", "default"], default="tuned")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    restart_tuned(args.threads, args.allocator)
    torch.manual_seed(0)
    wrap = (lambda f: torch.compile(f, dynamic=False)) if args.mode == "compile" else (lambda f: f)

    @cache
    def prepare(case: str):
        name, _, sizes = case.partition(":")
        workers, flop = CASES[name](wrap, DTYPES[args.dtype], *(int(size) for size in sizes.split(",")))
        turn = iter(range(1 << 60))
        work = lambda: workers[next(turn) % len(workers)]()  # noqa: E731
        timed(work, 2 + len(workers))
        return work, flop

    def run(words: list[str]) -> dict:
        work, flop = prepare(words[0])
        seconds = timed(work, int(words[1]) if len(words) > 1 else args.count)
        return {"case": words[0], "dtype": args.dtype, "mode": args.mode, "flop": flop, "seconds": seconds}

    def forget(_: list[str]) -> dict:
        prepare.cache_clear()
        return {"forgotten": True, "rss_bytes": memory("VmRSS")}

    about = {
        "implementation": "pytorch",
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **{name: getattr(args, name) for name in ("dtype", "mode", "allocator", "threads")},
    }
    if args.serve:
        serve(about, {"run": run, "forget": forget})
        return
    for case in args.cases:
        answer({**about, **run([case])})


if __name__ == "__main__":
    main()
