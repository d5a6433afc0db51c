"""What every training does around the loop: a run, a teacher, a tokenizer, a fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, cast

import torch
from torch import nn

from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import Views
from mimflow.data.chosen import Chosen
from mimflow.data.loader import Batches
from mimflow.data.shards import MAX_PIXELS, Shards
from mimflow.params.training import Budget
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import Render, train
from mimflow.train.parallel import prepare, unspread
from mimflow.train.place import Place
from mimflow.train.progress import Row
from mimflow.train.record import Record

Method = TypeVar("Method", bound=nn.Module)


class Done(NamedTuple, Generic[Method]):
    """A training's end: the method in one piece, its curve, and the states to be dropped."""

    method: Method
    rows: list[Row]
    keep: Checkpoints


def batches_of(
    images: Shards | Chosen, views: Views, run: Budget, place: Place, window: int | None
) -> Batches:
    """This process's part of each batch of `run`; `window`: the run's order_window."""
    share = place.processes.rank, place.processes.count
    return Batches(images, views, run.batch, run.seed, MAX_PIXELS, *share, window=window)


def trained(
    build: Callable[[], Method],
    batches: Batches,
    render: Render,
    run: Budget,
    place: Place,
    start: Callable[[Method], None] | None = None,
) -> Done[Method]:
    """What `build` makes, trained from the newest state on; where there is none, `start` sees it
    first. Raises what the loop does.
    """
    prepare(run.compute)

    def begin() -> Method:
        torch.manual_seed(run.seed)  # the initial weights; nothing else draws from it
        method = build().to(place.device)
        fuse_attention(method, place.device, backward=True)
        return method

    keep = Checkpoints(place.state, writer=place.processes.rank == 0)
    record = Record(place.stage, place.key, place.device, place.processes)
    method = begin()
    if start is not None and keep.latest() is None:
        start(method)
    rows = train(method, batches, render, run, keep, record, place.processes)
    return Done(cast(Method, unspread(method, begin)), rows, keep)
