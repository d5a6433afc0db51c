"""Pre-training of one run: an encoder with its card, the loss curve, and pictures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimflow.params.check import parse, schema_of
from mimflow.stage import Stage, run

if TYPE_CHECKING:  # torch is slow to import: only when everything was found right
    from mimflow.params.training import Training
    from mimflow.train.place import Place


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    where = f"runs.{stage.key}"
    values = stage.params(where)
    return train_run(stage, parse(schema_of(values["method"]), values, where))


def train_run(stage: Stage, params: Training) -> Callable[[], None]:
    """`body` for the parameters of any section."""
    from mimflow.train.place import placed

    with placed(stage, "pretrain") as place:
        return _train(params, place)


def _train(params: Training, place: Place) -> Callable[[], None]:
    from mimflow.data.augment import finish
    from mimflow.encoder import described, save_encoder
    from mimflow.train.pictures import write_pictures
    from mimflow.train.progress import write_curve
    from mimflow.train.training import batches_of, trained

    method, shards = importlib.import_module(f"mimflow.methods.{params.method}"), place.shards
    batches = batches_of(shards, method.views(params), params, place, params.order_window)
    render = finish(shards.mean, shards.std, place.device)
    done = trained(partial(method.build, params), batches, render, params, place)
    if place.processes.rank:
        return done.keep.drop

    done.keep.confirm()
    folder = Path("runs") / place.key
    write_curve(folder / "losses.csv", done.rows)
    write_pictures(folder / "pictures.png", done.method, batches, render, params)
    card = {
        **described(params.encoder),
        "mean": shards.mean,
        "std": shards.std,
        "method": params.method,
        "samples": params.samples,
    }
    save_encoder(folder / "encoder.safetensors", done.method.encoder, card)
    return done.keep.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("pretrain", body, argv)


if __name__ == "__main__":
    sys.exit(main())
