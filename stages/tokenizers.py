"""A tokenizer, trained or imported: weights, a card, its curve and pictures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimflow.params.check import parse
from mimflow.params.tokenizers import TOKENIZERS, Imported, Trained
from mimflow.stage import Stage, run

if TYPE_CHECKING:  # torch is slow to import: only when everything was found right
    from mimflow.train.place import Place


def body(stage: Stage) -> Callable[[], None] | None:
    """Makes tokenizers/<key>; returns what drops the state of a training."""
    where = f"tokenizers.{stage.key}"
    values = stage.params(where)
    params = parse(TOKENIZERS[values["kind"]], values, where)
    if isinstance(params, Imported):
        from mimflow.tokenizers.imported import bring

        bring(Path("tokenizers") / str(stage.key), params)
        return None
    from mimflow.train.place import placed

    with placed(stage, "tokenizers") as place:
        return _train(params, place)


def _train(params: Trained, place: Place) -> Callable[[], None]:
    import torch

    from mimflow.data.augment import finish
    from mimflow.data.loader import Batches
    from mimflow.data.shards import FOLDER, INDEX, MAX_PIXELS, Shards
    from mimflow.tokenizers.publish import publish
    from mimflow.train.progress import write_curve
    from mimflow.train.training import batches_of, trained

    kind, shards = importlib.import_module(f"mimflow.tokenizers.{params.kind}"), place.shards
    held = Shards(INDEX, FOLDER, shards.held_out)  # missing images are told before a training
    views, window = kind.views(params), params.order_window
    render = finish([0.0] * 3, [1.0] * 3, place.device)  # a tokenizer sees pictures in [0, 1]

    def start(tokenizer: Any) -> None:
        if tokenizer.start_images:  # the same on every rank
            count, seed = tokenizer.start_images, params.seed
            first = Batches(shards, views, count, seed, MAX_PIXELS, window=window)[0]
            tokenizer.start(render({n: torch.as_tensor(x) for n, x in first.items()})["image"])

    batches = batches_of(shards, views, params, place, window)
    done = trained(partial(kind.build, params), batches, render, params, place, start)
    if place.processes.rank:
        return done.keep.drop
    done.keep.confirm()
    folder = Path("tokenizers") / place.key
    publish(folder, done.method, held, batches, render, params)
    write_curve(folder / "losses.csv", done.rows)
    return done.keep.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("tokenizers", body, argv)


if __name__ == "__main__":
    sys.exit(main())
