"""What every kind of source becomes: a list of names, and records read on demand.

A source holds names and places, never images: about 200 bytes a file. Whoever needs only some of
the records asks for their positions, and nothing else is read, decompressed or drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from mimflow.data.readers.files import MAX_BYTES, check_size

SPLITS = ("train", "val", "test")  # also their order in a shard
Annotations = dict[str, Any]  # the columns of mimflow/data/sharding/format.py


def in_order(splits: Iterable[str | None]) -> tuple[str, ...]:
    """The splits that occur, in their order."""
    present = set(splits)
    return tuple(split for split in SPLITS if split in present)


class Wanted(NamedTuple):
    """What params.yaml says about reading a source, section `data`."""

    kind: str = "auto"
    files: str | None = None
    num_points: int = 1024
    normals: bool = False
    ignore_value: int | None = None


@dataclass(slots=True)
class Record:
    """One record of a source; reading it raises a ValueError when its bytes cannot be had.

    `image` holds the bytes or reads them, given the most that are allowed: a picture's file, raw
    pixels, or points. `label` is -1 where there is none, `shape` is known for raw pixels (H, W) and
    for points (their number, the values of each). `extra` holds the annotations that the source
    declares, or finds them.
    """

    name: str
    split: str | None
    label: int
    image: bytes | Callable[[int], bytes]
    shape: tuple[int, int] | None = None
    extra: Annotations | Callable[[], Annotations] = field(default_factory=dict)

    def data(self, max_bytes: int = MAX_BYTES) -> bytes:
        """The bytes of the record, read at this moment if they are not at hand."""
        if callable(self.image):
            return self.image(max_bytes)
        check_size(len(self.image), max_bytes)
        return self.image

    def annotations(self) -> Annotations:
        """The values of the source's annotations, found at this moment if they are not at hand."""
        return self.extra() if callable(self.extra) else self.extra


@dataclass(frozen=True)
class Source:
    """The records of a data set, in the order of their sorted names.

    `splits` are the ones that the source itself has. `annotations` are the keys of each record's
    `extra`. `ignored` counts the files that are no images, by extension or reason. `identity` is
    equal for equal sources, as far as that can be told without reading the images. `group_of` names
    what must not be torn apart by a split that is drawn. `distant`: bytes come over a network.
    `about` says what the annotations mean (names of their classes, the value to ignore).
    """

    kind: str
    encoding: Literal["raw", "file", "points"]
    label_names: list[str]
    names: list[str]
    split_of: Callable[[int], str | None]
    read: Callable[[Iterable[int]], Iterator[Record]]
    splits: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)
    identity: str = ""
    group_of: Callable[[int], str] | None = None
    distant: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    def records(self, positions: Iterable[int] | None = None) -> Iterator[Record]:
        """The records at these positions of `names`, in this order; all of them if None."""
        return self.read(range(len(self.names)) if positions is None else positions)
