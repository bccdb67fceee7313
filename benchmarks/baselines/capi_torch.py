"""The CAPI training step in PyTorch: the line the native step is measured against.

Written from METHOD.md sections 3-7 with the operators a PyTorch user would get: nn.Linear-like
layers, scaled_dot_product_attention, foreach or fused optimizers, and the teacher and the student as two
functions that torch.compile can take. `param_dtype` casts parameters and images for compute; masters,
optimizer state and losses stay float32. Numbers agree with the golden trajectory, see check_golden.py.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    width: int
    encoder_depth: int
    predictor_depth: int
    heads: int
    patch: int
    image: int
    registers: int
    clusters: int
    batch: int
    mask_ratio: float = 0.65
    predicted_share: float = 0.05
    drop_path: float = 0.2

    @property
    def grid(self) -> int:
        return self.image // self.patch

    @property
    def positions(self) -> int:
        return self.grid**2

    @property
    def masked(self) -> int:
        return int(self.positions * self.mask_ratio)

    @property
    def predicted(self) -> int:
        return int(self.masked * self.predicted_share)


SHAPES = {
    "tiny": Shape(192, 6, 3, 3, 4, 32, 4, 1024, 128),
    "vit_s": Shape(384, 12, 6, 6, 14, 224, 16, 4096, 16),
    "vit_l": Shape(1024, 24, 12, 16, 14, 224, 16, 16384, 512),
    "vit_s_64": Shape(384, 12, 6, 6, 14, 224, 16, 16384, 64),
    "trial": Shape(64, 2, 1, 1, 4, 32, 4, 64, 4),  # to try the harness with
}


class Linear(nn.Linear):
    """A bias-free projection whose float32 master is cast to the dtype of the activations."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, bias=False)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class RMSNorm(nn.RMSNorm):
    def __init__(self, width: int, affine: bool = True):
        super().__init__(width, eps=1e-5, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


def coupled_rope(x: Tensor, coordinates: Tensor, frequencies: Tensor) -> Tensor:
    """x [b, h, n, d], coordinates [b, 1, n, 2], frequencies [2, d]."""
    angle = coordinates @ frequencies.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-second, first), dim=-1) * angle.sin()


def rope_frequencies(head_dim: int) -> Tensor:
    quarter = 7.0 * (7.0 / 7e-4) ** torch.linspace(0, -1, head_dim // 4)
    half = torch.cat([quarter, quarter])
    table = torch.zeros(2, head_dim)
    table[0, : head_dim // 2] = half
    table[1, head_dim // 2 :] = half
    return table * 2 * math.pi


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = Linear(width, width), Linear(width, width)
        self.v_proj, self.proj = Linear(width, width), Linear(width, width)
        self.frequencies = nn.Parameter(rope_frequencies(width // heads))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, place: Tensor, context: Tensor | None, context_place: Tensor | None) -> Tensor:
        context, context_place = (x, place) if context is None else (context, context_place)
        q = coupled_rope(self.split(self.q_proj(x)), place[:, None], self.frequencies)
        k = coupled_rope(self.split(self.k_proj(context)), context_place[:, None], self.frequencies)
        v = self.split(self.v_proj(context))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Residual(nn.Module):
    """x + branch(norm(x)); in training only on a random subset of the images (efficient drop path)."""

    def __init__(self, width: int, branch: nn.Module, drop_path: float):
        super().__init__()
        self.norm, self.branch, self.keep = RMSNorm(width), branch, 1 - drop_path

    def forward(self, x: Tensor, *sides: Tensor | None) -> Tensor:
        if not self.training or self.keep == 1.0:
            return x + self.branch(self.norm(x), *sides)
        batch = x.shape[0]
        kept = max(int(batch * self.keep), 1)
        chosen = torch.randperm(batch, device=x.device)[:kept]
        sides = tuple(None if side is None else side[chosen] for side in sides)
        return torch.index_add(x, 0, chosen, self.branch(self.norm(x[chosen]), *sides), alpha=batch / kept)


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.attention = Residual(shape.width, Attention(shape.width, shape.heads), shape.drop_path)
        self.mlp = Residual(shape.width, Mlp(shape.width), shape.drop_path)

    def forward(self, x, place, context=None, context_place=None):
        return self.mlp(self.attention(x, place, context, context_place))


def edge_coordinates(registers: int, device: torch.device) -> Tensor:
    t = torch.arange(registers // 4, device=device) / (registers // 4)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    sides = [(t, zero), (one, t), (1 - t, one), (zero, 1 - t)]
    return torch.cat([torch.stack(side, dim=-1) for side in sides])


class Backbone(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.patch_embed = nn.Conv2d(3, shape.width, shape.patch, shape.patch)
        nn.init.xavier_uniform_(self.patch_embed.weight.data.flatten(1))
        self.registers = nn.Parameter(torch.randn(1, shape.registers, shape.width) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(1, 1, shape.width) * 0.02)
        self.encoder = nn.ModuleList(Block(shape) for _ in range(shape.encoder_depth))
        self.predictor = nn.ModuleList(Block(shape) for _ in range(shape.predictor_depth))
        self.final_norm = RMSNorm(shape.width, affine=False)

    def forward(self, images: Tensor, visible: Tensor | None = None, predict: Tensor | None = None):
        """images [B, 3, H, W] -> patch features [B, N or V, D] and, with `predict`, predictions [P, D]."""
        batch, dtype, grid = images.shape[0], images.dtype, self.shape.grid
        embed = self.patch_embed
        x = F.conv2d(images, embed.weight.to(dtype), embed.bias.to(dtype), stride=self.shape.patch)
        x = x.flatten(2).transpose(1, 2)
        line = torch.linspace(0, 1, grid, dtype=dtype, device=images.device)
        everywhere = torch.cartesian_prod(line, line).expand(batch, -1, -1)
        place = everywhere
        if visible is not None:
            place = everywhere.flatten(0, 1)[visible].unflatten(0, (batch, -1))
            x = x.flatten(0, 1)[visible].unflatten(0, (batch, -1))
        low, high = place.amin(1, keepdim=True), place.amax(1, keepdim=True)
        edge = low + edge_coordinates(self.shape.registers, images.device).to(dtype) * (high - low)
        place = torch.cat([edge, place], dim=1)
        x = torch.cat([self.registers.to(dtype).expand(batch, -1, -1), x], dim=1)
        for block in self.encoder:
            x = block(x, place)
        context = self.final_norm(x)
        features = context[:, self.shape.registers :]
        if predict is None:
            return features, None
        wanted = everywhere.flatten(0, 1)[predict].unflatten(0, (batch, -1))
        y = self.mask_token.to(dtype).expand(batch, wanted.shape[1], -1)
        for block in self.predictor:
            y = block(y, wanted, context, place)
        return features, self.final_norm(y).flatten(0, 1)


class StudentHead(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.direction = nn.Parameter(nn.init.trunc_normal_(torch.empty(shape.clusters, shape.width), std=0.02))
        self.gain = nn.Parameter(torch.ones(shape.clusters, 1))

    def forward(self, x: Tensor) -> Tensor:
        direction, gain = self.direction.to(x.dtype), self.gain.to(x.dtype)
        weight = direction * (gain / (direction.norm(dim=1, keepdim=True) + 1e-8))
        return F.linear(F.normalize(x, dim=-1, eps=1e-12), weight)


@torch.no_grad()
def sinkhorn_knopp(scores: Tensor, iterations: int = 3, eps: float = 1e-8) -> Tensor:
    """scores [..., n, K], overwritten. Rows of the result sum to one."""
    scores += 50 - scores.amax(dim=-2, keepdim=True)
    e = scores.exp()
    for _ in range(iterations):
        e /= e.sum(dim=-2, keepdim=True) + eps
        e /= e.sum(dim=-1, keepdim=True) + eps
    return e


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    return -(targets.float() * F.log_softmax(logits.float() / temperature, dim=-1)).sum(dim=-1)


class ClusteringHead(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape.clusters, shape.width))
        self.bias = nn.Parameter(torch.zeros(shape.clusters))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, B, D] (positions first) -> assignments [N, B, K], clustering loss."""
        x = F.normalize(x, dim=-1, eps=1e-7)
        logits = F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))
        assignments = sinkhorn_knopp(logits.detach() / 0.06)
        return assignments, soft_cross_entropy(logits.flatten(0, 1), assignments.flatten(0, 1), 0.12).mean()


@dataclass
class Batch:
    images: Tensor  # [B, 3, H, W]
    visible: Tensor  # [B * V], into the flattened batch
    predict: Tensor  # [B * P]

    def to(self, device: str) -> "Batch":
        return Batch(self.images.to(device), self.visible.to(device), self.predict.to(device))


def random_batch(shape: Shape, dtype: torch.dtype, generator: torch.Generator) -> Batch:
    """Random pixels; rolled inverse-block masks with exact counts."""
    g, n_visible = shape.grid, shape.positions - shape.masked
    visible, predict = [], []
    for image in range(shape.batch):
        u = torch.rand(5, generator=generator).tolist()
        low = max(math.log(0.5), math.log(n_visible / g**2))
        high = min(math.log(2), math.log(g**2 / n_visible))
        aspect = math.exp(low + (high - low) * u[0])
        rows = min(math.ceil(math.sqrt(n_visible * aspect)), g)
        cols = min(math.ceil(n_visible / rows), g)
        rows = max(rows, math.ceil(n_visible / cols))
        top, left = int(u[1] * (g - rows + 1)), int(u[2] * (g - cols + 1))
        mask = torch.zeros(g, g, dtype=torch.bool)
        for cell in range(n_visible):
            mask[top + cell // cols, left + cell % cols] = True
        mask = mask.roll((int(u[3] * g), int(u[4] * g)), (0, 1)).flatten()
        hidden = (~mask).nonzero().flatten()
        order = torch.randperm(len(hidden), generator=generator)[: shape.predicted]
        visible.append(mask.nonzero().flatten() + image * shape.positions)
        predict.append(hidden[order].sort().values + image * shape.positions)
    images = torch.randn(shape.batch, 3, shape.image, shape.image, generator=generator).to(dtype)
    return Batch(images, torch.cat(visible), torch.cat(predict))


def parameter_groups(backbone: Backbone, head: StudentHead, lr: float, decay: float) -> list[dict]:
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in [*backbone.named_parameters(), *head.named_parameters()]:
        lr_multiplier = 0.2 if "patch_embed" in name else 0.0 if "frequencies" in name else 1.0
        decay_multiplier = 0.0 if name.endswith("bias") else 0.1 if "norm" in name else 1.0
        groups.setdefault((lr_multiplier, decay_multiplier), []).append(parameter)
    return [{"params": p, "lr": lr * a, "weight_decay": decay * b} for (a, b), p in groups.items()]


class Trainer:
    """Everything one step needs; `step(batch)` is one optimisation step in the published order. `wrap` compiles, or not."""

    def __init__(self, shape: Shape, dtype: torch.dtype, wrap=lambda f: f, optimizer: str = "foreach"):
        self.shape, self.dtype, self.momentum = shape, dtype, 0.999
        self.backbone, self.head = Backbone(shape), StudentHead(shape)
        self.ema_backbone, self.ema_head = Backbone(shape), StudentHead(shape)
        self.clustering = ClusteringHead(shape)
        self.student = [*self.backbone.parameters(), *self.head.parameters()]
        self.ema = [*self.ema_backbone.parameters(), *self.ema_head.parameters()]
        for parameter in self.ema:
            parameter.requires_grad_(False)
        with torch.no_grad():
            torch._foreach_copy_(self.ema, self.student)
        self.backbone.train()
        self.ema_backbone.eval()
        options = {"betas": (0.9, 0.95), **({optimizer: True} if optimizer != "loop" else {"foreach": False})}
        self.optimizer = torch.optim.AdamW(parameter_groups(self.backbone, self.head, 1e-3, 0.1), **options)
        self.clustering_optimizer = torch.optim.AdamW(self.clustering.parameters(), lr=5e-4, **options)
        self.run_teacher, self.run_student = wrap(self._teacher), wrap(self._student)

    def _teacher(self, batch_images: Tensor, predict: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            features, _ = self.ema_backbone(batch_images)
        assignments, loss = self.clustering(features.transpose(0, 1))
        with torch.no_grad():
            targets = assignments.detach().transpose(0, 1).flatten(0, 1).index_select(0, predict)
        return targets, loss

    def _student(self, images: Tensor, visible: Tensor, predict: Tensor, targets: Tensor) -> Tensor:
        _, predictions = self.backbone(images, visible, predict)
        loss = soft_cross_entropy(self.head(predictions), targets, 0.12)
        return loss.double().sum() / len(loss)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        self.clustering_optimizer.zero_grad(set_to_none=True)
        targets, clustering_loss = self.run_teacher(batch.images, batch.predict)
        clustering_loss.backward()
        capi_loss = self.run_student(batch.images, batch.visible, batch.predict, targets)
        capi_loss.to(self.dtype).backward()
        entropy = -torch.xlogy(targets, targets).sum(dim=-1).mean()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(self.ema, self.momentum)
            torch._foreach_add_(self.ema, self.student, alpha=1 - self.momentum)
        self.clustering_optimizer.step()
        return {"capi_loss": capi_loss.detach(), "clustering_loss": clustering_loss.detach(), "target_entropy": entropy}
