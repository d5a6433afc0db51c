"""Features of an encoder for every image of a data set: the class token and the mean of the patch
tokens.

A feature file holds `<draw>/<split>/<pool>` float32 (n, D) and `<split>/label` int32 (n,), -1 where
there is none. An encoder has one draw; the control with random weights several. Splits: train, and
held for the held-out one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mimflow.backbones.vit import encode, fuse_attention, patch_size
from mimflow.data.augment import finish, fit
from mimflow.data.shards import Shards
from mimflow.files import replacing
from mimflow.params.sections import Features
from mimflow.targets.pixels import patchify

INDEX, FOLDER, MAX_PIXELS = Path("data/index.json"), Path("data/shards"), 1 << 28


def open_splits() -> dict[str, Shards]:
    """The training images and the held-out ones."""
    train = Shards(INDEX, FOLDER, "train")
    return {"train": train, "held": Shards(INDEX, FOLDER, train.held_out)}


def images_of(shards: Shards, size: int, count: int) -> Iterator[np.ndarray]:
    """uint8 (count, S, S, C) at a time: the whole image, short side S, the middle."""
    for start in range(0, len(shards), count):
        stop = min(start + count, len(shards))
        yield fit([shards.pixels(i, MAX_PIXELS) for i in range(start, stop)], size)


@torch.inference_mode()
def extract(
    vit: VisionTransformer, shards: Shards, mean: list[float], std: list[float], how: Features
) -> dict[str, np.ndarray]:
    """`cls` and `mean` float32 (n, D), after the final norm."""
    device = next(vit.parameters()).device
    fuse_attention(vit, device, backward=False)
    render, size = finish(mean, std, device), vit.patch_embed.img_size[0]
    parts: dict[str, list[Tensor]] = {"cls": [], "mean": []}
    for images in images_of(shards, size, how.batch):
        x = render({"image": torch.from_numpy(images)})["image"]  # (B, C, S, S)
        with torch.autocast(device.type, torch.bfloat16, enabled=how.precision == "bf16"):
            latent = encode(vit, patchify(x, patch_size(vit))).float()  # (B, 1 + N, D)
        parts["cls"].append(latent[:, 0].cpu())
        parts["mean"].append(latent[:, 1:].mean(1).cpu())
    return {pool: torch.cat(x).numpy() for pool, x in parts.items()}


def write_features(path: Path, draws: Sequence[Callable[[Shards], dict[str, np.ndarray]]]) -> None:
    """Writes what each of `draws` makes of each split."""
    splits = open_splits()
    arrays = {f"{split}/label": shards.labels() for split, shards in splits.items()}
    for number, draw in enumerate(draws):
        for split, shards in splits.items():
            arrays |= {f"{number}/{split}/{pool}": x for pool, x in draw(shards).items()}
    with replacing(path) as file:
        save_file(arrays, file)


def read_features(
    path: Path,
) -> tuple[list[dict[str, dict[str, np.ndarray]]], dict[str, np.ndarray]]:
    """One dictionary pool -> split -> (n, D) for each draw, and split -> labels (n,)."""
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    labels = {split: arrays.pop(f"{split}/label") for split in ("train", "held")}
    draws: list[dict[str, dict[str, np.ndarray]]] = []
    for name, x in arrays.items():
        number, split, pool = name.split("/")
        draws += [{} for _ in range(int(number) + 1 - len(draws))]
        draws[int(number)].setdefault(pool, {})[split] = x
    return draws, labels
