"""What a teacher is made in, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mimflow.data.shards import Shards
from mimflow.ranks import Processes


class Place(NamedTuple):
    """`key`: the teacher's name; `state`: the folder for what a resume needs."""

    key: str
    state: Path
    shards: Shards
    processes: Processes
    device: torch.device


class Made(NamedTuple):
    """An encoder on the CPU, the part of its card that its kind knows, its projection."""

    encoder: nn.Module
    card: dict[str, Any]
    projection: Tensor | None
