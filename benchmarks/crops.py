"""Multi-crop: crops of one size through the networks together, against each crop by itself.

A training step (forward and backward) of iBOT with two global crops and a number of local ones, the
same arithmetic and the same losses both ways. Medians of interleaved rounds; on a CPU in processor
time, since others may use it too. From the root:
python -m benchmarks.crops --run presets/cifar10.yaml --batch 64
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimflow.params.ibot import IBOTParams
from mimflow.params.read import read_yaml
from mimflow.threads import set_threads


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("presets/cifar10.yaml"))
    parser.add_argument("--local", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    values = copy.deepcopy(read_yaml(options.run)["runs"]["ibot"])
    values["crops"]["count"], values["drop_path"] = options.local, 0.0
    run = IBOTParams.model_validate(values)
    steps = {"together": step_of(run, options.batch, False)}
    steps["by itself"] = step_of(run, options.batch, True)
    losses = [step() for step in steps.values()]
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    clock = time.perf_counter if Path("/proc/driver/nvidia/version").exists() else time.process_time
    for _ in range(options.rounds):
        for name, step in steps.items():
            begin = clock()
            for _ in range(options.steps):
                step()
            took = clock() - begin
            rounds[name].append(options.batch * options.steps / took)
    print(f"2 + {options.local} crops of {options.batch} images, {run.compute.precision};", end=" ")
    print(f"losses {losses[0]:.4f} and {losses[1]:.4f}\n")
    print("| crops of one size | images a second | spread |\n| --- | --- | --- |")
    for name, found in rounds.items():
        print(f"| {name} | {statistics.median(found):.1f} | {min(found):.1f} to {max(found):.1f} |")
    ratios = [a / b for a, b in zip(*rounds.values(), strict=True)]
    print(f"\ntogether / by itself: {statistics.median(ratios):.2f}, the median of paired rounds")


def step_of(run: IBOTParams, batch: int, apart: bool) -> Callable[[], float]:
    """Takes a training step and gives its loss; `apart`: each crop has a pass of its own."""
    import numpy as np
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.draw import Draw
    from mimflow.methods import ibot
    from mimflow.train.clock import Clock
    from mimflow.train.step import PRECISION

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(run.seed)
    method = ibot.build(run).to(device)
    fuse_attention(method, device, backward=True)
    side = run.encoder.img_size
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    views = ibot.views(run)(images, Draw(np.arange(batch), "views", 0), 0)
    render = finish([0.5] * 3, [0.25] * 3, device)
    ready = render({name: torch.as_tensor(x) for name, x in views.items()})
    draw = Draw(torch.arange(batch, device=device), "benchmark")
    together = ibot.encode_crops

    def separate(vit: Any, images: Any, mask: Any = None, token: Any = None) -> Any:
        masks = [None] * (len(images) // batch) if mask is None else mask.split(batch)
        pairs = zip(images.split(batch), masks, strict=True)
        return torch.cat([together(vit, x, m, token) for x, m in pairs])

    def step() -> float:
        ibot.encode_crops = separate if apart else together
        try:
            with torch.autocast(device.type, PRECISION[run.compute.precision]):
                loss = method(ready, draw, Clock(0, 1, 0.0, 1.0))["loss"]
        finally:
            ibot.encode_crops = together
        method.zero_grad()
        loss.backward()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    main()
