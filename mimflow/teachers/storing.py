"""Stored targets, made: every crop of every image goes through the teacher once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mimflow.data.augment import Images, finish, one_view
from mimflow.data.shards import MAX_PIXELS, Shards
from mimflow.device import device
from mimflow.draw import Draw
from mimflow.params.targets import Targets
from mimflow.teachers.frozen import Seen, open_teacher
from mimflow.teachers.stored import NAMES, SHIFT, TYPES, starts, write_stored


def store(folder: Path, how: Targets, shards: Shards) -> None:
    """Writes the shards and the index. Raises ValueError where the disk is too small."""
    teacher = open_teacher(Path(how.needs)).to(device())
    look = one_view(how.augment, how.img_size)
    render = finish(shards.mean, shards.std, device())
    looks = teacher.card["attention"]

    def answer(image: np.ndarray, crop: int) -> Seen:
        pictures: Images = [shards.picture(i, MAX_PIXELS) for i in image.tolist()]
        views = look(pictures, Draw((crop << SHIFT) | image, "views", how.seed), 0)
        batch: dict[str, Tensor] = render({n: torch.as_tensor(x) for n, x in views.items()})
        with torch.autocast(device().type, torch.bfloat16, enabled=how.precision == "bf16"):
            seen: Seen = teacher(batch["image"], how.norm, looks)
        return seen

    _check_room(folder, answer(np.arange(1), 0), how, len(shards))
    facts = {
        **how.model_dump(include={"needs", "crops", "seed", "img_size", "norm", "storage"}),
        "augment": how.augment.model_dump(),
        "num_shards": how.num_shards,
        "images": len(shards),
        "card": teacher.card,
    }

    def every() -> Iterator[Iterator[Seen]]:
        firsts = starts(len(shards), how.num_shards)
        for crop in range(how.crops):
            for first, last in zip(firsts, [*firsts[1:], len(shards)], strict=True):
                cuts = range(first, last, how.batch)
                yield (answer(np.arange(i, min(i + how.batch, last)), crop) for i in cuts)

    write_stored(folder, facts, every())


def _check_room(folder: Path, one: Seen, how: Targets, images: int) -> None:
    values = sum(prod(x.shape) for x in one if x is not None)
    needed = values * how.crops * images * np.dtype(TYPES[how.storage]).itemsize
    folder.mkdir(parents=True, exist_ok=True)
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    kept = ", ".join(n for n, x in zip(NAMES, one, strict=True) if x is not None)
    print(f"targets: {kept}: {needed / 2**30:.2f} GiB in {folder}", file=sys.stderr)
    if needed > free:
        raise ValueError(
            f"stored targets take {needed / 2**30:.1f} GiB, but {folder} has {free / 2**30:.1f}:"
            " lower crops, or train with the teacher itself"
        )
