"""A contact sheet of what a method sees and makes: an image a row, a kind of picture a column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mimflow.data.loader import Batches
from mimflow.draw import Draw
from mimflow.files import replacing
from mimflow.params.training import Training
from mimflow.train.clock import Clock

ROWS = 8


def write_pictures(
    path: Path,
    method: nn.Module,
    batches: Batches,
    render: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    run: Training,
) -> None:
    """The method's `pictures` of the first images of the run as PNG, each column scaled as its
    first.
    """
    method.eval()
    first = {name: torch.as_tensor(x)[:ROWS] for name, x in batches[0].items()}
    batch = render(first)
    draw = Draw(batch["place"], "pictures", run.seed)
    columns: dict[str, Tensor] = method.pictures(batch, draw, Clock(run.steps, run.steps, 1.0, 1.0))  # type: ignore[operator]
    low, high = batch["image"].amin(), batch["image"].amax()
    sheet = torch.cat(
        [((x - low) / (high - low)).clamp(0, 1) for x in columns.values()], dim=3
    )  # (B, C, H, W ...)
    pixels: Any = (sheet * 255).round().byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()
    with replacing(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
