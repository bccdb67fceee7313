"""Times single pieces of the CAPI step in PyTorch on random inputs.

    python ops.py --dtype float32 --mode compile --serve
    run attention:16,6,64,106,106 20 3    # case, repetitions, sets of inputs; one JSON line comes back

Cases (numbers separated by commas):
    attention:b,h,d,nq,nk          coupled rope on q and k, softmax attention, gradients of q, k, v
    attention_forward:b,h,d,nq,nk  the same without gradients
    attention@flash:…              with that backend of scaled_dot_product_attention or an error; also @cudnn, @math
    sinkhorn:positions,n,K         positionwise Sinkhorn-Knopp, clustering loss, gradient of the logits
    cross_entropy:n,K              loss with soft targets, gradient of the logits
    rms_norm:rows,dim              forward, gradients of x and weight; rms_norm_forward: forward only
    l2_norm:rows,dim  weight_norm:rows,dim
    residual:B,kept,n,dim          scatter-add of a residual branch on the kept images
    patchify:B,side,patch          uint8 NHWC to normalised, mirrored rows of patches
    gather:rows,taken,dim
    resize_crop:height,width,side  Pillow, one thread
    adamw_ema:n                    AdamW on n parameters, then their EMA
    cast:n                         float32 to bfloat16
    gemm:m,n,k                     x (m,k) @ weight (n,k) transposed; gemm_gelu, gemm_residual: with what follows
    gemm_dx:m,n,k  gemm_dw:m,n,k   gradients of a linear layer: (m,k) @ (k,n), (k,m) transposed @ (k,n)
    gemm_dx_dgelu:m,n,k            the former and GELU's gradient
"""

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from itertools import cycle

import torch
import torch.nn.functional as F
from capi_torch import coupled_rope, rope_frequencies, sinkhorn_knopp, soft_cross_entropy
from process import DTYPES, MODES, answer, memory, reset_peak, restart_tuned, serve, timed, timed_on_device
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Works = list[Callable[[], object]]  # one for each set of inputs, used in turn


def attention_parts(wrap, dtype, backend: SDPBackend | None, b: int, h: int, d: int, nq: int, nk: int):
    frequencies = rope_frequencies(d)

    def forward(q: Tensor, k: Tensor, v: Tensor, place: Tensor, context: Tensor) -> Tensor:
        q, k, v = (x.unflatten(-1, (h, d)).transpose(1, 2) for x in (q, k, v))
        q, k = coupled_rope(q, place, frequencies), coupled_rope(k, context, frequencies)
        with nullcontext() if backend is None else sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def inputs() -> tuple[list[Tensor], list[Tensor]]:
        tensors = [torch.randn(b, n, h * d).to(dtype) for n in (nq, nk, nk)]
        return tensors, [torch.rand(b, 1, n, 2).to(dtype) for n in (nq, nk)]

    return wrap(forward), inputs


def attention(wrap, dtype, sets: int, b: int, h: int, d: int, nq: int, nk: int, backend=None) -> Works:
    forward, inputs = attention_parts(wrap, dtype, backend, b, h, d, nq, nk)

    def case() -> Callable[[], object]:
        tensors, places = inputs()
        for x in tensors:
            x.requires_grad_()
        cotangent = torch.randn(b, nq, h * d).to(dtype)
        return lambda: torch.autograd.grad(forward(*tensors, *places), tensors, cotangent)

    return [case() for _ in range(sets)]


def attention_forward(wrap, dtype, sets: int, b: int, h: int, d: int, nq: int, nk: int, backend=None) -> Works:
    forward, inputs = attention_parts(wrap, dtype, backend, b, h, d, nq, nk)

    def case() -> Callable[[], object]:
        tensors, places = inputs()
        return without_gradients(lambda: forward(*tensors, *places))

    return [case() for _ in range(sets)]


def sinkhorn(wrap, dtype, sets: int, positions: int, n: int, clusters: int) -> Works:
    def loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        assignments = sinkhorn_knopp(logits.detach() / 0.06)
        return assignments, soft_cross_entropy(logits.flatten(0, 1), assignments.flatten(0, 1), 0.12).mean()

    loss = wrap(loss)

    def case() -> Callable[[], object]:
        logits = torch.randn(positions, n, clusters).to(dtype).requires_grad_()
        return lambda: torch.autograd.grad(loss(logits)[1], logits)

    return [case() for _ in range(sets)]


def cross_entropy(wrap, dtype, sets: int, rows: int, clusters: int) -> Works:
    loss = wrap(lambda logits, targets: soft_cross_entropy(logits, targets, 0.12).mean())

    def case() -> Callable[[], object]:
        logits = torch.randn(rows, clusters).to(dtype).requires_grad_()
        targets = torch.randn(rows, clusters).softmax(-1).to(dtype)
        return lambda: torch.autograd.grad(loss(logits, targets), logits)

    return [case() for _ in range(sets)]


def rms_norm(wrap, dtype, sets: int, rows: int, dim: int) -> Works:
    forward = wrap(lambda x, weight: F.rms_norm(x, (dim,), weight, 1e-5))

    def case() -> Callable[[], object]:
        x, weight = torch.randn(rows, dim).to(dtype).requires_grad_(), torch.ones(dim).to(dtype).requires_grad_()
        cotangent = torch.randn(rows, dim).to(dtype)
        return lambda: torch.autograd.grad(forward(x, weight), (x, weight), cotangent)

    return [case() for _ in range(sets)]


def rms_norm_forward(wrap, dtype, sets: int, rows: int, dim: int) -> Works:
    weight = torch.ones(dim).to(dtype)
    return mapped(wrap(lambda x: F.rms_norm(x, (dim,), weight, 1e-5)), dtype, sets, (rows, dim))


def l2_norm(wrap, dtype, sets: int, rows: int, dim: int) -> Works:
    return mapped(wrap(lambda x: F.normalize(x, dim=-1, eps=1e-7)), dtype, sets, (rows, dim))


def weight_norm(wrap, dtype, sets: int, rows: int, dim: int) -> Works:
    """float32 masters, the weight in the compute dtype."""

    def weight(direction: Tensor, gain: Tensor) -> Tensor:
        direction, gain = direction.to(dtype), gain.to(dtype)
        return direction * (gain / (direction.norm(dim=1, keepdim=True) + 1e-8))

    return mapped(wrap(weight), torch.float32, sets, (rows, dim), (rows, 1))


def residual(wrap, dtype, sets: int, batch: int, kept: int, n: int, dim: int) -> Works:
    chosen = torch.randperm(batch)[:kept].sort().values
    add = wrap(lambda x, branch: torch.index_add(x, 0, chosen, branch, alpha=batch / kept))
    return mapped(add, dtype, sets, (batch, n, dim), (kept, n, dim))


def patchify(wrap, dtype, sets: int, batch: int, side: int, patch: int) -> Works:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    mirrored = torch.arange(batch).remainder(2).bool().view(-1, 1, 1, 1)
    grid = side // patch

    def cut(pixels: Tensor) -> Tensor:
        x = ((pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std).to(dtype)
        x = torch.where(mirrored, x.flip(-1), x)
        return x.reshape(batch, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(batch * grid**2, -1)

    cut = wrap(cut)
    images = [torch.randint(256, (batch, side, side, 3), dtype=torch.uint8) for _ in range(sets)]
    return [without_gradients(lambda x=x: cut(x)) for x in images]


def gather(wrap, dtype, sets: int, rows: int, taken: int, dim: int) -> Works:
    index = torch.randperm(rows)[:taken].sort().values
    return mapped(wrap(lambda x: x.index_select(0, index)), dtype, sets, (rows, dim))


def resize_crop(wrap, dtype, sets: int, height: int, width: int, side: int) -> Works:
    from PIL import Image  # only here: the other cases need torch alone

    pixels = torch.randint(256, (height + 5, width + 4, 3), dtype=torch.uint8)
    image = Image.frombytes("RGB", (width + 4, height + 5), bytes(pixels.flatten().tolist()))
    box = (1, 2, 1 + width, 2 + height)
    return [lambda: image.resize((side, side), Image.Resampling.BICUBIC, box)]


def adamw_ema(wrap, dtype, sets: int, n: int) -> Works:
    """float32 whatever the dtype: masters and optimizer state always are."""
    parameter, ema = torch.randn(n, requires_grad=True), torch.randn(n)
    parameter.grad = torch.randn(n)
    kind = {"fused": True} if parameter.is_cuda and wrap is MODES["eager"] else {"foreach": True}
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, **kind)

    @torch.no_grad()
    def update() -> None:
        optimizer.step()
        torch._foreach_mul_([ema], 0.999)
        torch._foreach_add_([ema], [parameter], alpha=0.001)

    return [wrap(update)]


def cast(wrap, dtype, sets: int, n: int) -> Works:
    return mapped(wrap(lambda x: x.to(torch.bfloat16)), torch.float32, sets, (n,))


def gemm(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    return mapped(wrap(F.linear), dtype, sets, (m, k), (n, k))


def gemm_gelu(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    return mapped(wrap(lambda x, weight: F.gelu(F.linear(x, weight))), dtype, sets, (m, k), (n, k))


def gemm_residual(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    return mapped(wrap(lambda x, weight, y: y + F.linear(x, weight)), dtype, sets, (m, k), (n, k), (m, n))


def gemm_dx(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    return mapped(wrap(torch.mm), dtype, sets, (m, k), (k, n))


def gemm_dx_dgelu(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    """The gradient through the second layer and the GELU before it; `pre` is what GELU was applied to."""
    product = wrap(lambda a, b, pre: torch.ops.aten.gelu_backward(torch.mm(a, b), pre))
    return mapped(product, dtype, sets, (m, k), (k, n), (m, n))


def gemm_dw(wrap, dtype, sets: int, m: int, n: int, k: int) -> Works:
    """As autograd leaves it: the gradient of a float32 master is float32."""
    product = wrap(lambda a, b: torch.mm(a.t(), b).float())
    return mapped(product, dtype, sets, (k, m), (k, n))


def mapped(f, dtype, sets: int, *shapes: tuple[int, ...]) -> Works:
    inputs = [[torch.randn(shape).to(dtype) for shape in shapes] for _ in range(sets)]
    return [without_gradients(lambda x=x: f(*x)) for x in inputs]


def without_gradients(work: Callable[[], object]) -> Callable[[], object]:
    return torch.no_grad()(work)


BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}

CASES = {
    f.__name__: f
    for f in (
        *(attention, attention_forward, sinkhorn, cross_entropy, rms_norm, rms_norm_forward, l2_norm, weight_norm),
        *(residual, patchify, gather, resize_crop, adamw_ema, cast),
        *(gemm, gemm_gelu, gemm_residual, gemm_dx, gemm_dx_dgelu, gemm_dw),
    )
}


def start_memory() -> int:
    reset_peak("cuda")
    return torch.cuda.memory_allocated()


def end_memory() -> int:
    """The peak; gives back what the allocator keeps, so that others on the GPU have room until the next turn."""
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="cases to time when not serving")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--allocator", choices=["tuned", "default"], default="tuned")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    restart_tuned(args.threads, args.allocator)
    torch.manual_seed(0)
    on_gpu = args.device == "cuda"
    time_calls = timed_on_device if on_gpu else timed

    @cache
    def prepare(case: str, sets: int):
        name, _, sizes = case.partition(":")
        name, _, backend = name.partition("@")
        form = {"backend": BACKENDS[backend]} if backend else {}
        with torch.device(args.device):
            works = CASES[name](
                MODES[args.mode], DTYPES[args.dtype], sets, *(int(size) for size in sizes.split(",")), **form
            )
        turn = cycle(works)
        timed(lambda: next(turn)(), len(works))
        return lambda: next(turn)()

    def run(words: list[str]) -> dict:
        case, count, sets = words + [str(args.count), "3"][len(words) - 1 :]
        work = prepare(case, int(sets))
        before = start_memory() if on_gpu else 0
        seconds = time_calls(work, int(count))
        return {
            **{"case": case, "dtype": args.dtype, "mode": args.mode, "seconds": seconds},
            **({"scratch_bytes": end_memory() - before} if on_gpu else {}),
        }

    def forget(_: list[str]) -> dict:
        prepare.cache_clear()
        torch.compiler.reset()  # a function that was compiled for many shapes would from then on run eagerly
        return {"forgotten": True, "rss_bytes": memory("VmRSS")}

    about = {
        "implementation": "pytorch",
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        **{name: getattr(args, name) for name in ("dtype", "mode", "device", "allocator", "threads")},
    }
    if args.serve:
        serve(about, {"run": run, "forget": forget})
        return
    for case in args.cases:
        answer({**about, **run([case])})


if __name__ == "__main__":
    main()
