"""Pre-training of one run: an encoder with its card, the loss curve, and pictures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mimflow.params.check import parse, schema_of
from mimflow.stage import Stage, run

if TYPE_CHECKING:  # torch is slow to import: only when everything was found right
    import torch

    from mimflow.data.shards import Shards
    from mimflow.params.training import Training
    from mimflow.ranks import Processes

MAX_PIXELS = 1 << 28  # the audit has passed every image


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    from mimflow.data.shards import Shards
    from mimflow.data.workers import make_room

    shards = Shards(Path("data/index.json"), Path("data/shards"), "train")
    make_room(shards)
    from mimflow.ranks import discover
    from mimflow.train.processes import joined

    where = f"runs.{stage.key}"
    values = stage.params(where)
    params = parse(schema_of(values["method"]), values, where)
    processes = discover()
    with joined(processes) as device:
        return _train(stage, params, shards, processes, device)


def _train(
    stage: Stage, params: Training, shards: Shards, processes: Processes, device: torch.device
) -> Callable[[], None]:
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.data.loader import Batches
    from mimflow.encoder import described, save_encoder
    from mimflow.train.checkpoint import Checkpoints
    from mimflow.train.loop import train
    from mimflow.train.parallel import prepare, unspread
    from mimflow.train.pictures import write_pictures
    from mimflow.train.progress import write_curve
    from mimflow.train.record import Record

    prepare(params.compute)
    module = importlib.import_module(f"mimflow.methods.{params.method}")

    def build() -> torch.nn.Module:
        torch.manual_seed(params.seed)  # the initial weights; nothing else draws from it
        method = module.build(params).to(device)
        fuse_attention(method, device, backward=True)
        return method

    look, share = module.views(params), (processes.rank, processes.count)
    batches = Batches(
        shards, look, params.batch, params.seed, MAX_PIXELS, *share, window=params.order_window
    )
    render = finish(shards.mean, shards.std, device)
    state = Path("state") / f"pretrain-{stage.key}-{stage.made_hash[:16]}"
    keep = Checkpoints(state, writer=processes.rank == 0)
    record = Record("pretrain", str(stage.key), device, processes)
    method = build()
    rows = train(method, batches, render, params, keep, record, processes)
    method = unspread(method, build)
    if processes.rank:
        return keep.drop

    keep.confirm()
    folder = Path("runs") / str(stage.key)
    write_curve(folder / "losses.csv", rows)
    write_pictures(folder / "pictures.png", method, batches, render, params)
    card = {
        **described(params.encoder),
        "mean": shards.mean,
        "std": shards.std,
        "method": params.method,
        "samples": params.samples,
    }
    save_encoder(folder / "encoder.safetensors", method.encoder, card)  # type: ignore[arg-type]
    return keep.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("pretrain", body, argv)


if __name__ == "__main__":
    sys.exit(main())
