"""Where something is trained: on which images, by which processes, with which folder for its state.

Nothing here is heavy: what a stage refuses, it refuses before torch is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mimflow.ranks import Processes, discover

if TYPE_CHECKING:
    import torch

    from mimflow.data.shards import Shards
    from mimflow.stage import Stage


class Place(NamedTuple):
    """`stage` and `key`: what the record calls it; `state`: the folder for what a resume needs."""

    stage: str
    key: str
    state: Path
    shards: Shards
    processes: Processes
    device: torch.device


@contextmanager
def placed(stage: Stage, kind: str) -> Iterator[Place]:
    """The place of this process among all that train what `stage` makes from the training images;
    `kind`: the stage's name for the record.
    """
    from mimflow.data.shards import FOLDER, INDEX, Shards
    from mimflow.data.workers import make_room
    from mimflow.train.deadline import listen

    listen()  # a signal before the first step stops behind it
    shards = Shards(INDEX, FOLDER, "train")
    make_room(shards)  # before torch
    from mimflow.train.processes import joined

    state = Path("state") / f"{kind}-{stage.key}-{stage.made_hash[:16]}"
    processes = discover()
    with joined(processes) as device:
        yield Place(kind, str(stage.key), state, shards, processes, device)
