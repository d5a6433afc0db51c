"""A teacher that is trained here, by the one loop, like a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import Views
from mimflow.data.loader import Batches
from mimflow.params.caption import CaptionTeacher
from mimflow.params.mocov3 import MoCoTeacher
from mimflow.teachers.place import Place
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import train
from mimflow.train.parallel import prepare, unspread
from mimflow.train.record import Record

MAX_PIXELS = 1 << 28  # the audit has passed every image
Method = TypeVar("Method", bound=nn.Module)
Render = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def trained(
    build: Callable[[], Method],
    views: Views,
    render: Render,
    params: MoCoTeacher | CaptionTeacher,
    place: Place,
) -> Method:
    """What `build` makes, trained from the newest state on, in evaluation mode on the CPU.

    Raises Diverged and Interrupted as the loop does.
    """
    prepare(params.compute)

    def begin() -> Method:
        torch.manual_seed(params.seed)  # the initial weights; nothing else draws from it
        method = build().to(place.device)
        fuse_attention(method, place.device, backward=True)
        return method

    processes = place.processes
    share = processes.rank, processes.count
    batches = Batches(
        place.shards,
        views,
        params.batch,
        params.seed,
        MAX_PIXELS,
        *share,
        window=params.order_window,
    )
    keep = Checkpoints(place.state, writer=processes.rank == 0)
    record = Record("teachers", place.key, place.device, processes)
    method = begin()
    train(method, batches, render, params, keep, record, processes)
    whole = unspread(method, begin)
    keep.confirm()
    return whole.cpu().eval()  # type: ignore[return-value]
