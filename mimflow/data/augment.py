"""Views of images: cut by the loader as uint8, finished on the device (flip, scale to mean 0 and
deviation 1).

A view is a function of the image and of numbers drawn for (seed, epoch, sample). An image is an
array, or a stored picture of which `fill` decodes what is needed: give it all boxes of an image at
once, and it decodes once. A box is (left, top, width, height). C channels, S side of the
view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimflow.data.colour import coloured
from mimflow.data.handover import empty
from mimflow.draw import Draw
from mimflow.params.fields import Augment

Box = tuple[float, float, float, float]


class Picture(Protocol):
    """A stored picture (`mimflow/data/encoded.py`) that decodes what it is asked for."""

    shape: tuple[int, int, int]

    def fill(self, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> None:
        """Puts each box, resized, in its `out` uint8 (h, w, C)."""


Images = Sequence[np.ndarray | Picture]  # uint8 (H, W, C) each, or one array (B, H, W, C)
Views = Callable[[Images, Draw, int], dict[str, np.ndarray]]  # the int: the step


def one_view(augment: Augment, size: int) -> Views:
    """Views with `image` uint8 (B, S, S, C) and `image.flip` bool (B,)."""
    cut = {"shift": shift, "crop": crop}[augment.kind]

    def views(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        flip = draw.uniform("flip", 1)[:, 0] < 0.5 * augment.flip
        return {"image": cut(images, size, augment.amount, draw), "image.flip": flip}

    return views


def shift(images: Images, size: int, amount: float, draw: Draw) -> np.ndarray:
    """Each image scaled to S, moved by up to `amount` pixels each way; what comes in is the
    mirrored border.
    """
    whole = fit(images, size)
    offset = draw.integers("shift", 2, 2 * int(amount) + 1) - int(amount)  # (B, 2)
    place = np.abs(np.arange(size) + offset[..., None])  # (B, 2, S), mirrored at 0
    place = np.minimum(place, 2 * (size - 1) - place)  # and at S - 1
    batch = np.arange(len(whole))[:, None, None]
    return whole[batch, place[:, 0, :, None], place[:, 1, None, :]]


def crop(images: Images, size: int, smallest: float, draw: Draw) -> np.ndarray:
    """A random part of each image, resized to S: area from `smallest` to 1, aspect ratio 3/4 to
    4/3.

    Ten tries to fit, then the largest part with an allowed aspect, in the middle (Inception's crop
    as torchvision has it).
    """
    boxes = crop_boxes(images, smallest, draw)
    out = empty((len(images), size, size, images[0].shape[-1]))
    for image, box, place in zip(images, boxes.tolist(), out, strict=True):
        fill(image, [box], [place])
    return out


def fill(image: np.ndarray | Picture, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> None:
    """Puts each box of the image, resized (bicubic, antialiased), in its `out` uint8 (h, w, C)."""
    if not isinstance(image, np.ndarray):
        image.fill(boxes, outs)
        return
    picture = Image.fromarray(image)
    for (x, y, width, height), out in zip(boxes, outs, strict=True):
        corners = (x, y, x + width, y + height)
        size = out.shape[1], out.shape[0]
        out[:] = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, corners))


def crop_boxes(
    images: Images, smallest: float, draw: Draw, name: str = "crop", largest: float = 1.0
) -> np.ndarray:
    """int64 (B, 4): a box of each image, drawn under `name` as `crop` says, but of an area up to
    `largest`.
    """
    numbers = draw.uniform(name, 40).reshape(-1, 10, 4)
    sides = np.array([image.shape[:2] for image in images]).reshape(-1, 2, 1)
    height, width = sides[:, 0], sides[:, 1]  # (B, 1)
    area = (smallest + (largest - smallest) * numbers[..., 0].astype(np.float64)) * height * width
    ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * numbers[..., 1])
    w, h = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)  # (B, 10)
    first = np.arange(len(images)), fits.argmax(1)
    w, h = w[first], h[first]
    height, width = height[:, 0], width[:, 0]
    x = (numbers[..., 2][first] * (width - w + 1)).astype(int)
    y = (numbers[..., 3][first] * (height - h + 1)).astype(int)
    none = ~fits.any(1)
    for i in np.flatnonzero(none):
        w[i], h[i] = (
            min(width[i], round(height[i] * 4 / 3)),
            min(height[i], round(width[i] * 4 / 3)),
        )
        x[i], y[i] = (width[i] - w[i]) // 2, (height[i] - h[i]) // 2
    return np.stack([x, y, w, h], 1)


def fit(images: Images, size: int) -> np.ndarray:
    """uint8 (B, S, S, C): each image scaled until its short side is S, the middle kept. For
    evaluation.
    """
    if isinstance(images, np.ndarray) and images.shape[1:3] == (size, size):
        return images
    out = empty((len(images), size, size, images[0].shape[-1]))
    for image, place in zip(images, out, strict=True):
        height, width = image.shape[:2]
        side = min(height, width)
        x, y = (width - side) / 2, (height - side) / 2
        if side == size and isinstance(image, np.ndarray):
            place[:] = image[int(y) : int(y) + size, int(x) : int(x) + size]
        else:
            fill(image, [(x, y, side, side)], [place])
    return out


def finish(
    mean: list[float], std: list[float], device: torch.device
) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Moves a batch to `device`; every uint8 view (B, S, S, C) becomes float32 (B, C, S, S),
    flipped and standardised.

    `mean` and `std` are of values in [0, 1]; the view `x` is flipped where `x.flip` is true, and
    coloured as `x.colour` says (`mimflow/data/colour.py`).
    """
    scale, lift = (
        torch.tensor(values, dtype=torch.float32, device=device)
        for values in (
            [1 / (255 * s) for s in std],
            [-m / s for m, s in zip(mean, std, strict=True)],
        )
    )

    def render(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        out = {name: x.to(device, non_blocking=True) for name, x in batch.items()}
        for name, x in out.items():
            if x.dtype == torch.uint8 and x.ndim == 4:
                if f"{name}.colour" in out:
                    x = coloured(x, out[f"{name}.colour"])
                x = (x * scale + lift).permute(0, 3, 1, 2)
                if f"{name}.flip" in out:
                    x = torch.where(out[f"{name}.flip"][:, None, None, None], x.flip(-1), x)
                out[name] = x.contiguous()
        return out

    return render
