"""Attention written out against torch's fused call, in training and inference of the default run.

Prints images a second, the median of five rounds, and the ratio. From the root:
python -m benchmarks.attention
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from mimflow.params.read import read_yaml
from mimflow.threads import set_threads

ROUNDS, STEPS = 5, 10


def rate(step: Callable[[], None], batch: int) -> float:
    """Images a second, the median over rounds, after a round that warms up."""
    rates = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        for _ in range(STEPS):
            step()
        rates.append(batch * STEPS / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def main() -> None:
    """Prints the table."""
    values = read_yaml(Path("params.yaml"))["runs"]["mae"]
    set_threads(values["compute"]["threads"])
    import torch

    from mimflow.backbones.vit import encode, fuse_attention, patch_size
    from mimflow.draw import Draw
    from mimflow.methods import mae
    from mimflow.params.mae import MAEParams
    from mimflow.targets.pixels import patchify
    from mimflow.train.clock import Clock
    from mimflow.train.optim import build_optimiser

    run = MAEParams.model_validate(values)
    method = mae.build(run)
    optimiser = build_optimiser(method, run.optimiser)
    images = torch.randn(run.batch, 3, run.encoder.img_size, run.encoder.img_size)
    draw = Draw(torch.arange(run.batch), "benchmark")

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = method({"image": images}, draw, Clock(0, 1, 0.0, 1.0))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    @torch.inference_mode()
    def infer() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            encode(method.encoder, patchify(images, patch_size(method.encoder)))

    print("| bf16, two threads | written out | fused | fused / written out |")
    print("| --- | --- | --- | --- |")
    for name, step in (("training step of MAE", train), ("encoder, all tokens", infer)):
        found = []
        for device in ("cpu", "cuda"):  # what `fuse_attention` picks for a device, here on the CPU
            fuse_attention(method, torch.device(device), backward=True)
            found.append(rate(step, run.batch))
        print(
            f"| {name} | {found[0]:,.0f} images/s | {found[1]:,.0f} | {found[1] / found[0]:.2f} |"
        )


if __name__ == "__main__":
    main()
