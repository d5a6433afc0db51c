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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import runs
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
    for _ in range(options.rounds):
        for name, step in steps.items():
            begin = runs.clock()
            for _ in range(options.steps):
                step()
            took = runs.clock() - begin
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
    import torch

    from mimflow.methods import ibot

    step, together = runs.step_of(run, batch), ibot.encode_crops

    def separate(vit: Any, images: Any, mask: Any = None, token: Any = None) -> Any:
        masks = [None] * (len(images) // batch) if mask is None else mask.split(batch)
        pairs = zip(images.split(batch), masks, strict=True)
        return torch.cat([together(vit, x, m, token) for x, m in pairs])

    def taken() -> float:
        ibot.encode_crops = separate if apart else together
        try:
            return step.take()
        finally:
            ibot.encode_crops = together

    return taken


if __name__ == "__main__":
    main()
