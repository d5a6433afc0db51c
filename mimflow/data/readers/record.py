"""What every kind of source becomes: a list of names, and records read on demand.

A source holds names and places, never images: about 200 bytes a file. Whoever needs only some of
the records asks for their positions, and nothing else is read, decompressed or drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

SPLITS = ("train", "val", "test")  # also their order in a shard


@dataclass(slots=True)
class Record:
    """One image of a source; reading it raises a ValueError when its bytes cannot be had.

    `label` is -1 where there is none, `shape` (H, W) is known for raw pixels only. `extra` holds
    the annotations that the source declares.
    """

    name: str
    split: str | None
    label: int
    image: bytes | Callable[[], bytes]
    shape: tuple[int, int] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def data(self) -> bytes:
        """The bytes of the image, read at this moment if they are not at hand."""
        return self.image if isinstance(self.image, bytes) else self.image()


@dataclass(frozen=True)
class Source:
    """The records of a data set, in the order of their sorted names.

    `splits` are the ones that the source itself has. `annotations` are the keys of each record's
    `extra`. `ignored` counts the files that are no images, by extension or reason. `identity` is
    equal for equal sources, as far as that can be told without reading the images.
    """

    kind: str
    encoding: Literal["raw", "file"]
    label_names: list[str]
    names: list[str]
    split_of: Callable[[int], str | None]
    read: Callable[[Iterable[int]], Iterator[Record]]
    splits: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    ignored: dict[str, int] = field(default_factory=dict)
    identity: str = ""

    def records(self, positions: Iterable[int] | None = None) -> Iterator[Record]:
        """The records at these positions of `names`, in this order; all of them if None."""
        return self.read(range(len(self.names)) if positions is None else positions)
