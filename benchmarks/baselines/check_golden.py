"""Replays the golden 20-step trajectory with the baseline, so that its speed is that of the right computation.

    python check_golden.py <golden folder>
"""

import re
import sys
from pathlib import Path

import torch
from capi_torch import Batch, Shape, Trainer
from safetensors.torch import load_file

SHAPE = Shape(64, 2, 1, 2, 4, 32, 4, 64, 8, 0.65, 0.25, drop_path=0.0)


def own_name(name: str) -> str:
    for pattern, replacement in [
        (r"decoder\.blocks", "predictor"), (r"encoder\.blocks", "encoder"),
        (r"residual1\.fn\.rope\.freqs", "attention.branch.frequencies"),
        (r"residual1\.fn", "attention.branch"), (r"residual1", "attention"),
        (r"residual2\.fn", "mlp.branch"), (r"residual2", "mlp"),
        (r"last_layer\.weight_g", "gain"), (r"last_layer\.weight_v", "direction"), (r"^layer\.", ""),
    ]:
        name = re.sub(pattern, replacement, name)
    return name


def main() -> None:
    golden = load_file(Path(sys.argv[1]) / "trajectory.safetensors")
    trainer = Trainer(SHAPE, torch.float32)
    modules = {"student.backbone.": trainer.backbone, "student.head.": trainer.head, "clustering.": trainer.clustering}

    def part(stage: str, prefix: str) -> dict[str, torch.Tensor]:
        start = f"{stage}.{prefix}"
        found = {own_name(n[len(start):]): t for n, t in golden.items() if n.startswith(start)}
        return {n: t.reshape(1, 1, -1) if n == "mask_token" else t for n, t in found.items()}

    for prefix, module in modules.items():
        module.load_state_dict(part("init", prefix))
    with torch.no_grad():
        torch._foreach_copy_(trainer.ema, trainer.student)
    base = [group["lr"] for group in trainer.optimizer.param_groups]
    worst = 0.0
    for i in range(20):
        for group, lr in zip(trainer.optimizer.param_groups, base, strict=True):
            group["lr"] = lr / 1e-3 * golden["log.lr"][i].item()
        trainer.clustering_optimizer.param_groups[0]["lr"] = golden["log.clustering_lr"][i].item()
        trainer.momentum = golden["log.momentum"][i].item()
        batch = Batch(golden["images"][i], golden["visible_indices"][i], golden["predict_indices"][i])
        step = trainer.step(batch)
        for ours, theirs in (("capi_loss", "student_loss"), ("clustering_loss",) * 2, ("target_entropy",) * 2):
            want = golden[f"log.{theirs}"][i].item()
            worst = max(worst, abs(step[ours].item() - want) / abs(want))
    print(f"losses: largest relative difference {worst:.1e}")
    for prefix, module in modules.items():
        state, first, last = module.state_dict(), part("init", prefix), part("final", prefix)
        error = sum((state[n] - last[n]).square().sum() for n in last).sqrt()
        moved = sum((first[n] - last[n]).square().sum() for n in last).sqrt()
        print(f"{prefix} difference over update {error / moved:.1e}")


if __name__ == "__main__":
    main()
