"""Shards, read: a record is found in O(1) and its bytes are not copied.

The index says how many rows of a split each shard has; a bisection over their sums finds the shard,
the memory-mapped file gives the row. `mimflow.data.sharding` writes what is read here.

Damage is a ValueError that names the shard: a missing one, or one of another size, when the shards
are opened; one of another number of rows, or that is no shard, when its first record is read; a
picture that can not be decoded, when it is asked for; any other byte by `verify`.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mimflow.data.encoded import Encoded
from mimflow.data.sharding.format import open_batch
from mimflow.data.staging import staged
from mimflow.files import sha256

INDEX, FOLDER = Path("data/index.json"), Path("data/shards")  # in the workflow
MAX_PIXELS = 1 << 28  # of an image, wherever the audit has passed it
OPEN = 256  # shards that are mapped at once; each holds an open file
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
        self._rows = {s["file"]: sum(n for _, n in s["splits"].values()) for s in facts["shards"]}
        self._hashes = {shard["file"]: shard["sha256"] for shard in facts["shards"]}
        self.folder = folder
        colour = facts.get("channels", 3) == 3 and facts.get("bit_depth", 8) == 8
        self._lazy = self.encoding == "file" and colour
        for shard in facts["shards"]:
            _check(f"{folder}/{shard['file']}", shard["bytes"])
        held = [shard for shard in facts["shards"] if split in shard["splits"]]
        self._names = [shard["file"] for shard in held]
        self._firsts = [shard["splits"][split][0] for shard in held]
        self._ends = list(accumulate(shard["splits"][split][1] for shard in held))
        self._open: dict[int, _Open] = {}
        self._checked: set[int] = set()
        self._staged = staged(folder, {name: self._hashes[name] for name in self._names})

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
        height, width = self.shape(0)
        opened = map(self._shard, range(len(self._names)))
        return all((o.height == height).all() and (o.width == width).all() for o in opened)

    def picture(self, i: int, max_pixels: int) -> np.ndarray | Encoded:
        """Raw pixels as `pixels`; a file as something that decodes what it is asked for."""
        if not self._lazy:
            return self.pixels(i, max_pixels)
        return Encoded(self.image(i), *self.shape(i), max_pixels, partial(self.where, i))

    def pixels(self, i: int, max_pixels: int) -> np.ndarray:
        """uint8 (H, W, 3); raw pixels are a view that must not be written to."""
        try:
            if self.encoding == "raw":
                return np.frombuffer(self.image(i), np.uint8).reshape(*self.shape(i), 3)
            from mimflow.data.decode import decode  # raw shards need no Pillow

            return decode(self.image(i), max_pixels)
        except ValueError as error:
            raise ValueError(f"{self.where(i)}: {error}") from error

    def where(self, i: int) -> str:
        """The shard and the name of a record, for messages."""
        return f"{self._path(bisect_right(self._ends, i))}: {self.name(i)}"

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

    def verify(self) -> int:
        """Read every shard of the index once, of all splits; the number of them.

        A ValueError names those whose bytes are not the index's.
        """
        found = {name: sha256(self.folder / name) for name in self._hashes}
        wrong = [name for name, expected in self._hashes.items() if found[name] != expected]
        if wrong:
            more = f" (and {len(wrong) - 1} more: {', '.join(wrong[1:6])})" if wrong[1:] else ""
            raise ValueError(
                f"{self.folder / wrong[0]}: sha256 {found[wrong[0]]}, but the index says"
                f" {self._hashes[wrong[0]]}{more}"
            )
        return len(found)

    def _find(self, i: int) -> tuple[_Open, int]:
        """The shard of record i and the row in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of {len(self)}")
        place = bisect_right(self._ends, i)
        before = self._ends[place - 1] if place else 0
        return self._shard(place), i - before + self._firsts[place]

    def _shard(self, place: int) -> _Open:
        if place not in self._open:
            if len(self._open) >= OPEN:
                del self._open[next(iter(self._open))]  # the first opened
            self._open[place] = self._opened(place)
        return self._open[place]

    def _path(self, place: int) -> Path:
        name = self._names[place]
        return self._staged.get(name, self.folder / name)

    def _opened(self, place: int) -> _Open:
        path, rows = self._path(place), self._rows[self._names[place]]
        try:
            batch = open_batch(path)
            if place not in self._checked:  # once: so that no damage makes Arrow read elsewhere
                batch.validate(full=True)
            label, height, width = (batch.column(name).to_numpy() for name in _NUMBERS)
            _, ends, images = batch.column("image").buffers()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path}: the shard cannot be read: {reason}") from error
        if batch.num_rows != rows:
            raise ValueError(f"{path}: {batch.num_rows} records, but the index says {rows}")
        self._checked.add(place)
        return _Open(batch, label, height, width, np.frombuffer(ends, np.int64), memoryview(images))


def _check(path: str, size: int) -> None:
    try:
        found = os.stat(path).st_size  # noqa: PTH116 (100,000 of these take half the time)
    except FileNotFoundError:
        raise ValueError(f"{path}: the shard is missing") from None
    if found != size:
        raise ValueError(f"{path}: the shard has {found} bytes, but the index says {size}")


def _mask(data: bytes) -> np.ndarray:
    from mimflow.data.decode import decode_mask  # raw shards need no Pillow

    return decode_mask(data)
