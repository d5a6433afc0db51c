"""One crop of an image rendered twice, for the encoder and for a tokenizer: the same box, the same
flip, the same colours, two sizes (BEiT, arXiv 2106.08254).

The tokenizer's rendering travels as uint8 (B, S S, C), so that it is not standardised on the
device: `unit` makes images in [0, 1] of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimflow.data.augment import Images, Views, crop_boxes, fill, shift
from mimflow.data.handover import empty
from mimflow.data.jitter import jitter
from mimflow.draw import Draw
from mimflow.params.fields import Augment
from mimflow.params.rendering import Rendering

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def two_renderings(augment: Augment, size: int, second: Rendering, colour: float) -> Views:
    """Views with `image` uint8 (B, S, S, C), `tokens` uint8 (B, S' S', C), S' the second's side,
    and `image.flip` bool (B,), which is of both.
    """
    cut = {"shift": _shifted, "crop": _cropped}[augment.kind]

    def views(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        flip = draw.uniform("flip", 1)[:, 0] < 0.5 * augment.flip
        first, other = jitter([*cut(images, size, second, augment.amount, draw)], colour, draw)
        tokens = other.reshape(len(other), -1, other.shape[-1])
        return {"image": first, "tokens": tokens, "image.flip": flip}

    return views


def _shifted(
    images: Images, size: int, second: Rendering, amount: float, draw: Draw
) -> tuple[np.ndarray, np.ndarray]:
    first = shift(images, size, amount, draw)
    if second.size == size:
        return first, first
    other = empty((len(first), second.size, second.size, first.shape[-1]))
    for image, place in zip(first, other, strict=True):
        place[:] = _resized(image, (0, 0, size, size), second)
    return first, other


def _cropped(
    images: Images, size: int, second: Rendering, smallest: float, draw: Draw
) -> tuple[np.ndarray, np.ndarray]:
    boxes = crop_boxes(images, smallest, draw)
    channels = images[0].shape[-1]
    first = empty((len(images), size, size, channels))
    other = empty((len(images), second.size, second.size, channels))
    for image, box, *places in zip(images, boxes.tolist(), first, other, strict=True):
        if second.filter == "bicubic":
            fill(image, [box, box], places)
            continue
        pixels: Any = np.asarray(image)  # a stored picture knows one filter: all of it is decoded
        fill(pixels, [box], places[:1])
        places[1][:] = _resized(pixels, box, second)
    return first, other


def _resized(image: np.ndarray, box: tuple[float, ...], second: Rendering) -> np.ndarray:
    x, y, width, height = box
    corners = (x, y, x + width, y + height)
    side = (second.size, second.size)
    return np.asarray(Image.fromarray(image).resize(side, FILTERS[second.filter], corners))


def unit(batch: dict[str, Tensor], size: int) -> Tensor:
    """The tokenizer's rendering as float32 (B, C, S', S') in [0, 1], flipped where the view is."""
    x = batch["tokens"].unflatten(1, (size, size)).permute(0, 3, 1, 2).float() / 255
    return torch.where(batch["image.flip"][:, None, None, None], x.flip(-1), x).contiguous()
