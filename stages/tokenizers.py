"""A tokenizer, trained or imported: weights, a card, its curve and pictures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimflow.params.check import parse
from mimflow.params.tokenizers import TOKENIZERS, Imported, Trained
from mimflow.stage import Stage, run

if TYPE_CHECKING:  # torch is slow to import: only when everything was found right
    import torch

    from mimflow.data.shards import Shards
    from mimflow.ranks import Processes

MAX_PIXELS = 1 << 28  # the audit has passed every image


def body(stage: Stage) -> Callable[[], None] | None:
    """Makes tokenizers/<key>; returns what drops the state of a training."""
    from mimflow.data.shards import Shards
    from mimflow.data.workers import make_room

    where = f"tokenizers.{stage.key}"
    values = stage.params(where)
    params = parse(TOKENIZERS[values["kind"]], values, where)
    if isinstance(params, Imported):
        from mimflow.tokenizers.imported import bring

        bring(Path("tokenizers") / str(stage.key), params)
        return None
    shards = Shards(Path("data/index.json"), Path("data/shards"), "train")
    make_room(shards)
    from mimflow.ranks import discover
    from mimflow.train.processes import joined

    processes = discover()
    with joined(processes) as device:
        return _train(stage, params, shards, processes, device)


def _train(
    stage: Stage, params: Trained, shards: Shards, processes: Processes, device: torch.device
) -> Callable[[], None]:
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.data.loader import Batches
    from mimflow.data.shards import Shards
    from mimflow.tokenizers.publish import publish
    from mimflow.train.checkpoint import Checkpoints
    from mimflow.train.loop import train
    from mimflow.train.parallel import prepare, unspread
    from mimflow.train.progress import write_curve
    from mimflow.train.record import Record

    prepare(params.compute)
    module = importlib.import_module(f"mimflow.tokenizers.{params.kind}")
    render = finish([0.0] * 3, [1.0] * 3, device)  # a tokenizer sees pictures in [0, 1]

    def batches(size: int, rank: int = 0, ranks: int = 1) -> Batches:
        look, window = module.views(params), params.order_window
        return Batches(shards, look, size, params.seed, MAX_PIXELS, rank, ranks, window)

    def build() -> torch.nn.Module:
        torch.manual_seed(params.seed)  # the initial weights; nothing else draws from it
        found: Any = module.build(params).to(device)
        fuse_attention(found, device, backward=True)
        return found

    state = Path("state") / f"tokenizers-{stage.key}-{stage.made_hash[:16]}"
    keep = Checkpoints(state, writer=processes.rank == 0)
    record = Record("tokenizers", str(stage.key), device, processes)
    tokenizer: Any = build()
    if tokenizer.start_images and keep.latest() is None:
        first = batches(tokenizer.start_images)[0]  # the same on every rank
        tokenizer.start(render({name: torch.as_tensor(x) for name, x in first.items()})["image"])
    own = batches(params.batch, processes.rank, processes.count)
    rows = train(tokenizer, own, render, params, keep, record, processes)
    tokenizer = unspread(tokenizer, build)
    if processes.rank:
        return keep.drop
    keep.confirm()
    folder = Path("tokenizers") / str(stage.key)
    held = Shards(Path("data/index.json"), Path("data/shards"), shards.held_out)
    publish(folder, tokenizer, held, batches(params.batch), render, params)
    write_curve(folder / "losses.csv", rows)
    return keep.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("tokenizers", body, argv)


if __name__ == "__main__":
    sys.exit(main())
