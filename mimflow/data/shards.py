"""Shards, read: a record is found in O(1) and its bytes are not copied.

The index says how many rows of a split each shard has; a bisection over their sums finds the shard,
the memory-mapped file gives the row. `mimflow.data.sharding` writes what is read here.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mimflow.data.sharding.format import open_batch
from mimflow.files import sha256

_NUMBERS = ("label", "height", "width")
_ANNOTATION: dict[str, Callable[[Any, tuple[int, int]], Any]] = {
    "semantic": lambda cell, shape: np.frombuffer(cell.as_buffer(), np.uint8).reshape(shape),
    "instances": lambda cell, shape: np.frombuffer(cell.as_buffer(), np.uint8).reshape(shape),
    "semantic_png": lambda cell, shape: _mask(cell.as_py()),
    "boxes": lambda cell, shape: cell.values.flatten().to_numpy().reshape(-1, 4),
    "classes": lambda cell, shape: cell.values.to_numpy(),
    "crowd": lambda cell, shape: cell.values.to_numpy(zero_copy_only=False),
    "segments": lambda cell, shape: [{"size": [*shape], "counts": c.as_py()} for c in cell],
    "caption": lambda cell, shape: cell.as_py(),
    "group": lambda cell, shape: cell.as_py(),
}


class _Open(NamedTuple):
    """A mapped shard and the columns that every record needs, as arrays without a copy."""

    batch: pa.RecordBatch
    label: np.ndarray
    height: np.ndarray
    width: np.ndarray
    ends: np.ndarray
    images: memoryview


class Shards:
    """The records of one split, by number; may be pickled, and then opens its files again."""

    def __init__(self, index: Path, folder: Path, split: str):
        facts = json.loads(index.read_bytes())
        if split not in facts["splits"]:
            allowed = ", ".join(facts["splits"])
            raise ValueError(
                f"{index}: no image is in the split {split!r} (there are: {allowed});"
                " data.test_fraction holds images out"
            )
        self.encoding: str = facts["encoding"]
        self.label_names: list[str] = facts["label_names"]
        self.held_out: str = facts["held_out"]
        self.mean: list[float] = facts["mean"]
        self.std: list[float] = facts["std"]
        self._hashes = {folder / shard["file"]: shard["sha256"] for shard in facts["shards"]}
        for shard in facts["shards"]:
            _check(folder / shard["file"], shard["bytes"])
        held = [shard for shard in facts["shards"] if split in shard["splits"]]
        self._paths = [folder / shard["file"] for shard in held]
        self._firsts = [shard["splits"][split][0] for shard in held]
        self._ends = list(accumulate(shard["splits"][split][1] for shard in held))
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def image(self, i: int) -> memoryview:
        """The stored bytes: raw pixels or an encoded file."""
        shard, row = self._find(i)
        return shard.images[shard.ends[row] : shard.ends[row + 1]]

    def label(self, i: int) -> int:
        shard, row = self._find(i)
        return int(shard.label[row])

    def labels(self) -> np.ndarray:
        """int32 (len,)."""
        columns = [np.zeros(0, np.int32)]
        starts = [0, *self._ends]
        for i, first in enumerate(self._firsts):
            columns.append(self._shard(i).label[first : first + starts[i + 1] - starts[i]])
        return np.concatenate(columns)

    def name(self, i: int) -> str:
        shard, row = self._find(i)
        return shard.batch.column("name")[row].as_py()

    def shape(self, i: int) -> tuple[int, int]:
        """(H, W) of the upright picture."""
        shard, row = self._find(i)
        return int(shard.height[row]), int(shard.width[row])

    def same_size(self) -> bool:
        """Whether all pictures have the size of the first."""
        first = self.shape(0)
        opened = [self._shard(i) for i in range(len(self._paths))]
        return all((o.height == first[0]).all() and (o.width == first[1]).all() for o in opened)

    def pixels(self, i: int, max_pixels: int) -> np.ndarray:
        """uint8 (H, W, 3); raw pixels are a view that must not be written to."""
        if self.encoding == "raw":
            return np.frombuffer(self.image(i), np.uint8).reshape(*self.shape(i), 3)
        from mimflow.data.decode import decode  # raw shards need no Pillow

        return decode(self.image(i), max_pixels)

    def annotations(self, i: int) -> dict[str, Any]:
        """What the source knows beside the label, by the names of `sharding/format.py`.

        `semantic` and `instances` uint8 (H, W), `boxes` float32 (K, 4) as corners, `classes` int32
        (K,), `crowd` bool (K,), `segments` K masks in the form of `pycocotools.mask.decode`.
        """
        shard, row = self._find(i)
        shape = int(shard.height[row]), int(shard.width[row])
        present = [name for name in _ANNOTATION if name in shard.batch.schema.names]
        found = {n: _ANNOTATION[n](shard.batch.column(n)[row], shape) for n in present}
        return {name.removesuffix("_png"): value for name, value in found.items()}

    def verify(self) -> None:
        """Read every shard once; a ValueError names the first whose bytes are not the index's."""
        for path, expected in self._hashes.items():
            found = sha256(path)
            if found != expected:
                raise ValueError(f"{path}: sha256 {found}, but the index says {expected}")

    def _find(self, i: int) -> tuple[_Open, int]:
        """The shard of record i and the row in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        place = bisect_right(self._ends, i)
        before = self._ends[place - 1] if place else 0
        return self._shard(place), i - before + self._firsts[place]

    def _shard(self, place: int) -> _Open:
        if place not in self._open:
            batch = open_batch(self._paths[place])
            label, height, width = (batch.column(name).to_numpy() for name in _NUMBERS)
            _, ends, images = batch.column("image").buffers()
            self._open[place] = _Open(
                batch, label, height, width, np.frombuffer(ends, np.int64), memoryview(images)
            )
        return self._open[place]


def _check(path: Path, size: int) -> None:
    if not path.exists():
        raise ValueError(f"{path}: the shard is missing")
    found = path.stat().st_size
    if found != size:
        raise ValueError(f"{path}: the shard has {found} bytes, but the index says {size}")


def _mask(data: bytes) -> np.ndarray:
    from mimflow.data.decode import decode_mask  # raw shards need no Pillow

    return decode_mask(data)
