"""What the record of a training costs: the share of its time that goes into curve, health, log and
loggers.

The default run's loop for some hundred steps; the functions that tell are timed where they are
called. From the root: python -m benchmarks.overhead [--loggers tensorboard,dvclive]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimflow.params.read import read_yaml
from mimflow.threads import set_threads

ROOT = Path(__file__).parents[1]
SPENT: dict[str, float] = defaultdict(float)


def timed(owner: type, name: str) -> None:
    """Replaces a method by one whose time is added to SPENT."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*arguments: Any, **names: Any) -> Any:
        begin = time.perf_counter()
        try:
            return inner(*arguments, **names)
        finally:
            SPENT[f"{owner.__name__}.{name}"] += time.perf_counter() - begin

    setattr(owner, name, outer)


def main() -> None:
    """Prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32_000)
    parser.add_argument("--loggers", default="")
    options = parser.parse_args()
    os.environ |= {"MIMFLOW_LOGGERS": options.loggers, "MIMFLOW_CHECKPOINT_SECONDS": "1000"}
    values = read_yaml(ROOT / "params.yaml")["runs"]["mae"]
    set_threads(values["compute"]["threads"])
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.data.loader import Batches
    from mimflow.data.shards import Shards
    from mimflow.methods import mae
    from mimflow.params.mae import MAEParams
    from mimflow.ranks import Processes
    from mimflow.train import progress
    from mimflow.train.checkpoint import Checkpoints
    from mimflow.train.health import Look
    from mimflow.train.loop import train
    from mimflow.train.progress import Progress
    from mimflow.train.record import Record

    run = MAEParams.model_validate({**values, "samples": options.images})
    progress.POINTS = max(1, progress.POINTS * options.images // values["samples"])  # as often
    shards = Shards(ROOT / "data/index.json", ROOT / "data/shards", "train")
    batches = Batches(shards, mae.views(run), run.batch, run.seed, 1 << 28)
    method, cpu, alone = mae.build(run), torch.device("cpu"), Processes(0, 1, 0)
    fuse_attention(method, cpu, backward=True)
    telling = ((Progress, "add"), (Progress, "row"), (Look, "_keep"), (Look, "measure"))
    for owner, name in (*telling, (Record, "step")):
        timed(owner, name)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        record = Record("pretrain", "overhead", cpu, alone)
        begin = time.perf_counter()
        render, keep = finish(shards.mean, shards.std, cpu), Checkpoints(Path("state"))
        train(method, batches, render, run, keep, record, alone)
        whole = time.perf_counter() - begin
        os.chdir(ROOT)
    for name, seconds in SPENT.items():
        print(f"{name:20} {seconds / whole:.2%}")
    print(f"all {sum(SPENT.values()) / whole:.2%} of {whole:.1f} s, {run.steps} steps")


if __name__ == "__main__":
    main()
