"""Several crops of one image: two global ones and L local ones, smaller in area and in pixels, each
flipped and coloured by itself (multi-crop, SwAV, arXiv 2006.09882; DINO, arXiv 2104.14294).

One decode serves all. A crop keeps its place: `NAME.box` is left, top, width, height in pixels of
the stored image, before the flip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mimflow.data.augment import Images, Views, crop_boxes, fill
from mimflow.data.handover import empty
from mimflow.draw import Draw

if TYPE_CHECKING:
    from mimflow.params.colour import Colour
    from mimflow.params.fields import Augment
    from mimflow.params.selfdistill import Crops

GLOBAL = ("image", "second")


def local_names(count: int) -> list[str]:
    """The names of the local crops in a batch."""
    return [f"local{i}" for i in range(count)]


def multi_crop(augment: Augment, size: int, crops: Crops | None, colour: Colour | None) -> Views:
    """Views `image`, `second`, `local0`, ... uint8 (B, S, S, C), S = `size` or `crops.size`, each
    with `.flip` bool (B,), `.box` float32 (B, 4) and, where there is one, `.colour` float32 (B, W).
    """
    wide = [(name, size, (augment.amount, 1.0)) for name in GLOBAL]
    small = []
    if crops is not None:
        area = crops.area[0], crops.area[1]
        small = [(name, crops.size, area) for name in local_names(crops.count)]

    def views(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        boxes = []
        for number, (name, side, (smallest, largest)) in enumerate(wide + small):
            boxes.append(crop_boxes(images, smallest, draw, f"{name}.crop", largest))
            out[name] = empty((len(images), side, side, images[0].shape[-1]))
            out[f"{name}.flip"] = draw.uniform(f"{name}.flip", 1)[:, 0] < 0.5 * augment.flip
            out[f"{name}.box"] = boxes[-1].astype(np.float32)
            if colour is not None:
                out[f"{name}.colour"] = colour_numbers(colour, min(number, 2), draw, name)
        cuts = [out[name] for name, _, _ in wide + small]
        for i, image in enumerate(images):
            fill(image, [tuple(b[i].tolist()) for b in boxes], [cut[i] for cut in cuts])
        return out

    return views


def colour_numbers(colour: Colour, crop: int, draw: Draw, name: str) -> np.ndarray:
    """float32 (B, W) for a crop of kind `crop` (0 and 1: the global ones, 2: local)."""
    u = draw.uniform(f"{name}.colour", 9)
    jittered = u[:, 4:5] < colour.jitter_share
    turn = (2 * u[:, :4] - 1) * np.array(colour.jitter, np.float32)
    change = np.array([1, 1, 1, 0], np.float32) + turn * jittered
    numbers = [change, u[:, 5:6] < colour.grey, u[:, 6:7] < colour.solarise[crop]]
    if colour.blur[crop]:
        low, high = colour.radius
        numbers.append((u[:, 7:8] < colour.blur[crop]) * (low + (high - low) * u[:, 8:9]))
    return np.concatenate(numbers, axis=1).astype(np.float32)


def stacked(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """The global crops (2 B, C, S, S) of a batch and its local ones (L B, C, s, s), None of none,
    crop by crop.
    """
    names = [f"local{i}" for i in range(len(batch)) if f"local{i}" in batch]
    local = torch.cat([batch[name] for name in names]) if names else None
    return torch.cat([batch[name] for name in GLOBAL]), local
