"""What a teacher makes of a finite set of crops, on the disk, for runs that then need no teacher.

Epoch e of a run sees crop e mod K of each image, and finds the teacher's answer beside it. A record
is what the teacher gives for one crop, in one piece: tokens (N, D), the whole image (D,), and class
attention (N,) where there is one. The files of a crop hold the images in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mimflow.data.augment import Images, Views
from mimflow.draw import Draw
from mimflow.files import canonical, replacing, sha256, write
from mimflow.teachers.frozen import Seen

SHIFT = 40  # of the epoch in a view's row; below it is the image
NAMES = ("tokens", "whole", "attention")
TYPES = {"fp16": np.float16, "fp32": np.float32}


def finite(views: Views, crops: int) -> Views:
    """`views` that repeat after `crops` epochs."""

    def look(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        again = Draw(((draw.rows >> SHIFT) % crops << SHIFT) | image_of(draw.rows))
        again.key = draw.key
        return views(images, again, step)

    return look


def image_of(rows: np.ndarray) -> np.ndarray:
    """The image numbers int64 (B,) in the rows of a view's draw."""
    return rows & ((1 << SHIFT) - 1)


class Stored:
    """The stored answers that `index` describes; may be pickled, and then opens its files again.

    Raises ValueError where a file is missing or has another size.
    """

    def __init__(self, index: Path):
        try:
            self.facts: dict[str, Any] = json.loads(index.read_bytes())
            self.crops: int = self.facts["crops"]
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{index}: not the index of stored targets ({error})") from None
        self.folder = index.parent / "shards"
        shapes = self.facts["shapes"]
        self.shapes = {n: tuple(shapes[n]) for n in NAMES if n in shapes}  # as in a record
        self.values = sum(prod(s) for s in self.shapes.values())
        self.starts = np.array(starts(self.facts["images"], self.facts["num_shards"]))
        self.open: dict[int, np.memmap[Any, Any]] = {}
        for shard in self.facts["shards"]:
            path = self.folder / shard["file"]
            size = path.stat().st_size if path.exists() else None
            if size != shard["bytes"]:
                raise ValueError(f"{path}: {size} bytes, but {index} says {shard['bytes']}")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"open": {}}

    def read(self, image: np.ndarray, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """`target.NAME` (B, ...) in the stored type, for images (B,) at epochs (B,)."""
        part = np.searchsorted(self.starts, image, side="right") - 1
        shard = epoch % self.crops * self.facts["num_shards"] + part
        rows = np.empty((len(image), self.values), TYPES[self.facts["storage"]])
        for number in np.unique(shard).tolist():
            here = shard == number
            rows[here] = self._shard(number)[(image - self.starts[part])[here]]
        cuts = np.cumsum([prod(s) for s in self.shapes.values()])[:-1]
        return {
            f"target.{name}": np.ascontiguousarray(x).reshape(-1, *self.shapes[name])
            for name, x in zip(self.shapes, np.split(rows, cuts, axis=1), strict=True)
        }

    def _shard(self, number: int) -> np.memmap[Any, Any]:
        if number not in self.open:
            path = self.folder / self.facts["shards"][number]["file"]
            kind = TYPES[self.facts["storage"]]
            self.open[number] = np.memmap(path, kind, "r").reshape(-1, self.values)  # type: ignore[assignment]
        return self.open[number]


def stored_views(views: Views, stored: Stored) -> Views:
    """The finite views, and what the teacher made of each, under `target.NAME`."""
    look = finite(views, stored.crops)

    def both(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        answers = stored.read(image_of(draw.rows), draw.rows >> SHIFT)
        return {**look(images, draw, step), **answers}

    return both


def seen_in(batch: dict[str, Tensor]) -> Seen:
    """The stored answers of a batch, in fp32."""
    found = {name: batch.get(f"target.{name}") for name in NAMES}
    tokens, whole, attention = (None if x is None else x.float() for x in found.values())
    assert tokens is not None and whole is not None
    return Seen(tokens, whole, attention)


def starts(images: int, shards: int) -> list[int]:
    """The first image of each of a crop's files."""
    return [i * images // shards for i in range(shards)]


def record_of(seen: Seen, storage: str) -> np.ndarray:
    """(B, values). Raises ValueError where `storage` can not hold a value."""
    flat = [x.flatten(1).cpu().numpy() for x in seen if x is not None]
    with np.errstate(over="ignore"):
        rows = np.concatenate(flat, axis=1).astype(TYPES[storage])
    if not np.isfinite(rows).all():
        raise ValueError(f"storage: {storage} can not hold what the teacher gives; allowed: fp32")
    return rows


def write_stored(folder: Path, facts: dict[str, Any], shards: Iterator[Iterator[Seen]]) -> None:
    """Writes a file for each of `shards`, which are batches in the order of the images, and the
    index: `facts` {crops, num_shards, images, storage, ...} with shapes and hashes.
    """
    names, shapes = [], {}
    for number, batches in enumerate(shards):
        path = folder / "shards" / f"{number:05d}.bin"
        with replacing(path) as beside, beside.open("wb") as file:
            for seen in batches:
                record_of(seen, facts["storage"]).tofile(file)
                shapes = {
                    n: list(x.shape[1:]) for n, x in zip(NAMES, seen, strict=True) if x is not None
                }
        size = path.stat().st_size
        names.append({"file": path.name, "bytes": size, "sha256": sha256(path)})
    write(folder / "index.json", canonical({**facts, "shapes": shapes, "shards": names}))
