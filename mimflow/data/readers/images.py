"""Encoded pictures in folders: with classes ("imagefolder") or without ("folder").

Below one common folder, if there is one, the top folders may be splits (train, val, test and their
usual spellings); the folder directly below names the class. There are classes if no picture lies
outside such a folder and there are two of them at least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from mimflow.data.readers.files import Files, suffix
from mimflow.data.readers.record import SPLITS, Record, Source

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm")
SPELLINGS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True)
class _Layout:
    """How names are read: 1 folder above the classes if there are splits, and the classes."""

    depth: int
    classes: dict[str, int]

    def split_of(self, name: str) -> str | None:
        return SPELLINGS.get(name.partition("/")[0].lower()) if self.depth else None

    def label_of(self, name: str) -> int:
        folders = _folders(name, self.depth)
        return self.classes.get(folders[self.depth], -1) if len(folders) > self.depth else -1


def image_source(files: Files) -> Source | None:
    """Every file with an image's extension or with none; None if there is no such file."""
    places = [i for i, name in enumerate(files.names) if _candidate(name)]
    if not places:
        return None
    ignored = Counter(files.ignored)
    ignored.update(suffix(name) for name in files.names if not _candidate(name))
    names = [files.names[i] for i in places]
    below = _common(names)
    names = [name[below:] for name in names] if below else names
    layout = _layout(names)

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for i in positions:
            name, load = names[i], partial(files.read, places[i])
            yield Record(name, layout.split_of(name), layout.label_of(name), load)

    present = {layout.split_of(name) for name in names}
    return Source(
        kind=("imagefolder" if layout.classes else "folder") + files.within,
        encoding="file",
        label_names=list(layout.classes),
        names=names,
        split_of=lambda i: layout.split_of(names[i]),
        read=read,
        splits=tuple(split for split in SPLITS if split in present),
        ignored=dict(ignored),
        identity=files.identity,
    )


def _candidate(name: str) -> bool:
    extension = suffix(name)
    return not extension or extension in EXTENSIONS


def _common(names: list[str]) -> int:
    """Length of the one folder, not a split, that holds everything; 0 if there is none."""
    top, slash, _ = names[0].partition("/")
    if not slash or top.lower() in SPELLINGS:
        return 0
    return len(top) + 1 if all(name.startswith(top + slash) for name in names) else 0


def _layout(names: list[str]) -> _Layout:
    # A LICENSE beside the class folders may be a picture, but says nothing about the layout.
    pictures = [name for name in names if suffix(name)] or names
    depth = 1 if _has_splits(pictures) else 0
    return _Layout(depth, {name: i for i, name in enumerate(_classes(pictures, depth))})


def _folders(name: str, depth: int) -> list[str]:
    """The folders above a file, down to the one that may be its class."""
    return name.split("/", depth + 1)[:-1]


def _has_splits(pictures: list[str]) -> bool:
    """Whether the top folders are splits; one such name among others is a class (a train)."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in pictures}
    splits = {top for top in tops if top.lower() in SPELLINGS}
    others = sorted(tops - splits)
    if len(splits) > 1 and others:
        raise ValueError(
            f"data.source: beside the splits {', '.join(sorted(splits))} there are pictures in"
            f" {others[0] or 'the top folder'!r}; allowed beside them: {', '.join(SPELLINGS)}"
        )
    return bool(splits) and not others


def _classes(pictures: list[str], depth: int) -> list[str]:
    """Sorted names of the class folders, or none."""
    found = set()
    for name in pictures:
        folders = _folders(name, depth)
        if len(folders) <= depth:
            return []
        found.add(folders[depth])
    return sorted(found) if len(found) > 1 else []
