"""Features of an encoder for every image of a data set: the class token and the mean of the patch
tokens.

`mimflow/evals/stored.py` says what a feature file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import finish, fit
from mimflow.data.shards import Shards
from mimflow.draw import Draw
from mimflow.encoder import features, input_size
from mimflow.files import replacing
from mimflow.params.sections import Features

INDEX, FOLDER, MAX_PIXELS = Path("data/index.json"), Path("data/shards"), 1 << 28


class Images(NamedTuple):
    """The images of a split that have their features taken."""

    shards: Shards
    chosen: np.ndarray  # int64 (n,), ascending

    def batches(self, size: int, count: int) -> Iterator[np.ndarray]:
        """uint8 (count, S, S, C) at a time: the short side scaled to S, the middle."""
        for start in range(0, len(self.chosen), count):
            numbers = self.chosen[start : start + count].tolist()
            yield fit([self.shards.pixels(i, MAX_PIXELS) for i in numbers], size)


def open_splits(train_images: int) -> dict[str, Images]:
    """The chosen training images and the held-out ones."""
    train = Shards(INDEX, FOLDER, "train")
    held = Shards(INDEX, FOLDER, train.held_out)
    return {
        "train": Images(train, choose(len(train), train_images)),
        "held": Images(held, np.arange(len(held))),
    }


def choose(count: int, chosen: int) -> np.ndarray:
    """Ascending int64 (min(count, chosen),), a fixed choice; a larger one holds the smaller."""
    order = Draw(np.arange(count), "features").uniform("order", 1)[:, 0].argsort(kind="stable")
    return np.sort(order[:chosen])


@torch.inference_mode()
def extract(
    encoder: nn.Module, images: Images, mean: list[float], std: list[float], how: Features
) -> dict[str, np.ndarray]:
    """`mean` of the patch tokens, and `cls` where there is a class token: float32 (n, D), after the
    final norm.
    """
    device = next(encoder.parameters()).device
    fuse_attention(encoder, device, backward=False)
    render, size = finish(mean, std, device), input_size(encoder)
    parts: dict[str, list[Tensor]] = {}
    for batch in images.batches(size, how.batch):
        x = render({"image": torch.from_numpy(batch)})["image"]  # (B, C, S, S)
        with torch.autocast(device.type, torch.bfloat16, enabled=how.precision == "bf16"):
            first, patches = features(encoder, x)  # (B, D), (B, N, D)
        pools = {} if first is None else {"cls": first.float()}
        for pool, x in {**pools, "mean": patches.float().mean(1)}.items():
            parts.setdefault(pool, []).append(x.cpu())
    return {pool: torch.cat(x).numpy() for pool, x in parts.items()}


def write_features(
    path: Path, draws: Sequence[Callable[[Images], dict[str, np.ndarray]]], how: Features
) -> None:
    """Writes what each of `draws` makes of each split."""
    splits = open_splits(how.train_images)
    arrays = {f"{split}/label": x.shards.labels()[x.chosen] for split, x in splits.items()}
    for number, draw in enumerate(draws):
        for split, images in splits.items():
            arrays |= {f"{number}/{split}/{pool}": x for pool, x in draw(images).items()}
    with replacing(path) as file:
        save_file(arrays, file)
