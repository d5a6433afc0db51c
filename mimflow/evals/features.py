"""Features of an encoder for every image of a data set: the class token and the mean of the patch
tokens.

`mimflow/evals/stored.py` says what a feature file holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from mimflow.backbones.grid import flat
from mimflow.backbones.vit import fuse_attention
from mimflow.data.augment import finish, fit
from mimflow.data.chosen import choose
from mimflow.data.shards import FOLDER, INDEX, MAX_PIXELS, Shards
from mimflow.encoder import input_size
from mimflow.files import replacing
from mimflow.params.sections import Features
from mimflow.train.heap import keep_freed


class Images(NamedTuple):
    """The images of a split that have their features taken."""

    shards: Shards
    chosen: np.ndarray  # int64 (n,), ascending

    def batches(self, size: int, count: int) -> Iterator[np.ndarray]:
        """uint8 (count, S, S, C) at a time: the short side scaled to S, the middle."""
        for start in range(0, len(self.chosen), count):
            numbers = self.chosen[start : start + count].tolist()
            yield fit([self.shards.pixels(i, MAX_PIXELS) for i in numbers], size)


class Draws(NamedTuple):
    """What one draw of an encoder makes of the images, and what says which encoder it was."""

    features: Callable[[Images], dict[str, np.ndarray]]
    origin: dict[str, Any]


def open_splits(train_images: int) -> dict[str, Images]:
    """The chosen training images and the held-out ones."""
    train = Shards(INDEX, FOLDER, "train")
    held = Shards(INDEX, FOLDER, train.held_out)
    return {
        "train": Images(train, choose(len(train), train_images)),
        "held": Images(held, np.arange(len(held))),
    }


def outputs(
    model: Any, images: Images, mean: list[float], std: list[float], how: Features
) -> Iterator[Tensor]:
    """What timm's `forward_features` gives, float32, a batch at a time: tokens (B, T, D), or a map
    of a model without tokens.
    """
    device = next(model.parameters()).device
    fuse_attention(model, device, backward=False)
    render, size = finish(mean, std, device), input_size(model)
    for batch in images.batches(size, how.batch):
        x = render({"image": torch.from_numpy(batch)})["image"]  # (B, C, S, S)
        with torch.autocast(device.type, torch.bfloat16, enabled=how.precision == "bf16"):
            x = model.forward_features(x)
        yield x.float()


def patch_tokens(model: Any, x: Tensor) -> Tensor:
    """Those of the outputs (B, T, D) that stand for a patch (B, N, D); the places of a map."""
    if x.ndim == 4:
        return flat(model, x)
    return x[:, getattr(model, "num_prefix_tokens", 0) :]


def poolings(model: Any, x: Tensor) -> dict[str, Tensor]:
    """`cls` (B, D), where there is a class token, and `mean` (B, D) of the patches.

    Where timm norms after the mean, so does this: the norm of a map, `fc_norm` of a ViT.
    """
    if x.ndim == 4:
        return {"mean": model.forward_head(x, pre_logits=True)}
    mean = patch_tokens(model, x).mean(1)
    mean = model.fc_norm(mean) if hasattr(model, "fc_norm") else mean
    return (
        {"cls": x[:, 0], "mean": mean} if getattr(model, "num_prefix_tokens", 0) else {"mean": mean}
    )


@torch.inference_mode()
def extract(
    model: nn.Module, images: Images, mean: list[float], std: list[float], how: Features
) -> dict[str, np.ndarray]:
    """`cls`, if there is a class token, and `mean` float32 (n, D), after the final norm."""
    rows = [poolings(model, x) for x in outputs(model, images, mean, std, how)]
    return {pool: torch.cat([row[pool].cpu() for row in rows]).numpy() for pool in rows[0]}


def write_features(path: Path, draws: Sequence[Draws], how: Features) -> None:
    """Writes what each of `draws` makes of each split, and the origin of each."""
    keep_freed()
    splits = open_splits(how.train_images)
    arrays = {f"{split}/label": x.shards.labels()[x.chosen] for split, x in splits.items()}
    for number, draw in enumerate(draws):
        for split, images in splits.items():
            arrays |= {f"{number}/{split}/{pool}": x for pool, x in draw.features(images).items()}
    card = {"origins": [draw.origin for draw in draws], "batch": how.batch}
    with replacing(path) as file:
        save_file(arrays, file, {"card": json.dumps(card, sort_keys=True)})
