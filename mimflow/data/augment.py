"""Views of images: cut by the loader as uint8, finished on the device (flip, scale to mean 0 and
deviation 1).

A view is a function of the image and of numbers drawn for (seed, epoch, sample). C channels, S side
of the view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimflow.draw import Draw
from mimflow.params.fields import Augment

Images = Sequence[np.ndarray]  # uint8 (H, W, C) each, or one array (B, H, W, C)
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
    tries = draw.uniform("crop", 40).reshape(-1, 10, 4)
    out = np.empty((len(images), size, size, images[0].shape[-1]), np.uint8)
    for image, numbers, place in zip(images, tries, out, strict=True):
        height, width = image.shape[:2]
        x, y, w, h = _box(height, width, smallest, numbers)
        picture = Image.fromarray(image)
        place[:] = np.asarray(
            picture.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + w, y + h))
        )
    return out


def _box(
    height: int, width: int, smallest: float, numbers: np.ndarray
) -> tuple[int, int, int, int]:
    area = (smallest + (1 - smallest) * numbers[:, 0].astype(np.float64)) * height * width
    ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * numbers[:, 1])
    w, h = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
    fits = np.flatnonzero((w > 0) & (w <= width) & (h > 0) & (h <= height))
    if len(fits):
        i = fits[0]
        x, y = int(numbers[i, 2] * (width - w[i] + 1)), int(numbers[i, 3] * (height - h[i] + 1))
        return x, y, int(w[i]), int(h[i])
    w0, h0 = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (width - w0) // 2, (height - h0) // 2, w0, h0


def fit(images: Images, size: int) -> np.ndarray:
    """uint8 (B, S, S, C): each image scaled until its short side is S, the middle kept. For
    evaluation.
    """
    if isinstance(images, np.ndarray) and images.shape[1:3] == (size, size):
        return images
    out = np.empty((len(images), size, size, images[0].shape[-1]), np.uint8)
    for image, place in zip(images, out, strict=True):
        height, width = image.shape[:2]
        side = min(height, width)
        x, y = (width - side) / 2, (height - side) / 2
        if side == size:
            place[:] = image[int(y) : int(y) + size, int(x) : int(x) + size]
        else:
            box = (x, y, x + side, y + side)
            place[:] = np.asarray(
                Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box)
            )
    return out


def finish(
    mean: list[float], std: list[float], device: torch.device
) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Moves a batch to `device`; every uint8 view (B, S, S, C) becomes float32 (B, C, S, S),
    flipped and standardised.

    `mean` and `std` are of values in [0, 1]; the view `x` is flipped where `x.flip` is true.
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
                x = (x * scale + lift).permute(0, 3, 1, 2)
                if f"{name}.flip" in out:
                    x = torch.where(out[f"{name}.flip"][:, None, None, None], x.flip(-1), x)
                out[name] = x.contiguous()
        return out

    return render
