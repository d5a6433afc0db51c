"""What comes of making a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn


class Made(NamedTuple):
    """An encoder on the CPU, the part of its card that its kind knows, its projection; of one that
    was trained, what drops the state of its training.
    """

    encoder: nn.Module
    card: dict[str, Any]
    projection: Tensor | None
    drop: Callable[[], None] | None = None
