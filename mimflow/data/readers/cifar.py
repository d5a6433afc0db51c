"""CIFAR-10 and CIFAR-100 in their binary version: label bytes, then 32 x 32 pixels, plane by plane.

The python version is a pickle, which can run code when it is loaded, and is refused. Format:
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from mimflow.data.readers.files import Files
from mimflow.data.readers.record import Record, Source, Wanted, in_order

_PIXELS = 3 * 32 * 32


class _Batch(NamedTuple):
    """A file of records: its split, the label bytes of a record (the finest last), its place."""

    split: str
    labels: int
    place: int = -1


_BATCHES = {
    **{f"data_batch_{i}.bin": _Batch("train", 1) for i in range(1, 6)},
    **{"test_batch.bin": _Batch("test", 1)},
    **{"train.bin": _Batch("train", 2), "test.bin": _Batch("test", 2)},
}
_LABEL_NAMES = {1: "batches.meta.txt", 2: "fine_label_names.txt"}
_NUM_LABELS = {1: 10, 2: 100}
_PICKLED = ({"data_batch_1", "test_batch", "batches.meta"}, {"train", "test", "meta"})


def cifar_source(files: Files, wanted: Wanted) -> Source | None:
    """The records of the batches, or None where there are none."""
    known = {*_BATCHES, *_LABEL_NAMES.values()}.union(*_PICKLED)
    bases = ((name.rpartition("/")[2], i) for i, name in enumerate(files.names))
    places = {base: i for base, i in bases if base in known}
    _refuse_pickles(places)
    batches = {
        name.removesuffix(".bin"): batch._replace(place=places[name])
        for name, batch in _BATCHES.items()
        if name in places
    }
    if not batches:
        return None
    wide = _label_bytes(batches)

    @cache  # all of CIFAR is 180 MB, and the rows of a shard come from every batch
    def rows(stem: str) -> np.ndarray:
        data = files.read(batches[stem].place)
        return np.frombuffer(data, np.uint8).reshape(-1, wide + _PIXELS)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            split, stem, number = names[i].split("/")
            row = rows(stem)[int(number)]
            image = row[wide:].reshape(3, 32, 32).transpose(1, 2, 0).tobytes()
            yield Record(names[i], split, int(row[wide - 1]), image, (32, 32))

    names = _names(files, batches)
    return Source(
        kind="cifar" + files.within,
        encoding="raw",
        label_names=_label_names(files, places.get(_LABEL_NAMES[wide]), _NUM_LABELS[wide]),
        names=names,
        split_of=lambda i: names[i].partition("/")[0],
        read=read,
        splits=in_order(batch.split for batch in batches.values()),
        identity=files.identity,
    )


def _refuse_pickles(places: dict[str, int]) -> None:
    if any(pickled <= set(places) for pickled in _PICKLED):
        raise ValueError(
            "data.source: this is the python version of CIFAR, a pickle, and mimflow loads no code"
            " from data; take the binary version (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz)"
        )


def _label_bytes(batches: dict[str, _Batch]) -> int:
    found = {batch.labels for batch in batches.values()}
    if len(found) > 1:
        raise ValueError(f"data.source: CIFAR-10 and CIFAR-100 in one place: {sorted(batches)}")
    return found.pop()


def _names(files: Files, batches: dict[str, _Batch]) -> list[str]:
    """Sorted names of all records, such as train/data_batch_1/00000."""
    names = []
    for split, stem in sorted((batch.split, stem) for stem, batch in batches.items()):
        size, width = files.size(batches[stem].place), batches[stem].labels + _PIXELS
        count, rest = divmod(size, width)
        if rest:
            raise ValueError(f"data.source: {stem}.bin is cut off after {count} images")
        names += [f"{split}/{stem}/{number:05d}" for number in range(count)]
    return names


def _label_names(files: Files, place: int | None, count: int) -> list[str]:
    """The names in the file beside the batches; the numbers where there is none."""
    if place is None:
        return [str(label) for label in range(count)]
    names = files.read(place).decode("utf-8", "backslashreplace").split()
    if len(names) != count:
        raise ValueError(f"data.source: {files.names[place]} has {len(names)} labels, not {count}")
    return names
