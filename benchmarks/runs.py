"""Runs of ./params.yaml beside each other: the arithmetic of a training step, images a second.

Forward and backward on drawn images, the tokenizers' or teachers' part included; medians of
interleaved steps. On a CPU in processor time, since others may use it too. In a workspace whose
tokenizers are made: python -m benchmarks.runs mae beit mcbeit
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mimflow.params.check import parse, schema_of
from mimflow.params.read import read_yaml
from mimflow.threads import set_threads

GPU = Path("/proc/driver/nvidia/version").exists()
clock = time.perf_counter if GPU else time.process_time


class Step(NamedTuple):
    """`take`: a forward and a backward pass, which gives the loss. Of an image: operations, tokens
    that the encoder sees.
    """

    take: Callable[[], float]
    flops: float
    tokens: float


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="the first is what the others stand beside")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    set_threads(options.threads)
    values = read_yaml(Path("params.yaml"))
    entries = {**values["runs"], **values["taught"]}
    steps = {n: step_of(_parsed(n, entries), options.batch) for n in options.runs}
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(options.rounds + 1):
        for name, step in steps.items():
            begin = clock()
            step.take()
            if number:  # the first warms up
                rounds[name].append(options.batch / (clock() - begin))
    rates = {name: statistics.median(found) for name, found in rounds.items()}
    first = rates[options.runs[0]]
    print("| run | MFLOP an image | tokens | images a second | spread | beside the first |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, step in steps.items():
        spread = f"{min(rounds[name]):,.0f} to {max(rounds[name]):,.0f}"
        print(
            f"| {name} | {step.flops / 1e6:,.0f} | {step.tokens:,.0f}"
            f" | {rates[name]:,.0f} | {spread} | {rates[name] / first:.2f} |"
        )


def _parsed(name: str, entries: dict[str, Any]) -> Any:
    if name not in entries:
        raise SystemExit(f"params.yaml: no run {name!r} (allowed: {', '.join(entries)})")
    return parse(schema_of(entries[name]["method"]), entries[name], name)


def step_of(run: Any, batch: int) -> Step:
    """A training step of a run on `batch` drawn images, in the run's precision."""
    import numpy as np
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.draw import Draw
    from mimflow.train.clock import Clock
    from mimflow.train.flops import cost_of
    from mimflow.train.step import PRECISION

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(run.seed)
    source = importlib.import_module(f"mimflow.methods.{run.method}")
    method = source.build(run).to(device)
    fuse_attention(method, device, backward=True)
    side = run.encoder.img_size
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    views = source.views(run)(images, Draw(np.arange(batch), "views", 0), 0)
    views["place"] = np.arange(batch)
    render = finish([0.5] * 3, [0.25] * 3, device)
    ready = render({name: torch.as_tensor(x) for name, x in views.items()})
    draw = Draw(torch.arange(batch, device=device), "benchmark")

    def take() -> float:
        with torch.autocast(device.type, PRECISION[run.compute.precision]):
            loss = method(ready, draw, Clock(0, 1, 0.0, 1.0))["loss"]
        method.zero_grad()
        loss.backward()
        return float(loss.detach())

    return Step(take, *cost_of(method, ready, run.seed))


if __name__ == "__main__":
    main()
