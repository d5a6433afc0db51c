"""What folders say: below the folders that hold everything, the split and the class of a file.

The top folders may be splits (train, val, test and their usual spellings) with the classes below
them, or classes that all have splits below them; otherwise the top folder is the class. There are
classes if no file lies outside such a folder and there are two of them at least.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mimflow.data.readers.files import suffix
from mimflow.data.readers.record import in_order

SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Layout:
    """How names are read: which folder is the split, which the class, and the classes."""

    split_at: int | None
    class_at: int
    classes: dict[str, int]

    def split_of(self, name: str) -> str | None:
        folders = _folders(name)
        if self.split_at is None or len(folders) <= self.split_at:
            return None
        return SPELLINGS.get(folders[self.split_at].lower())

    def label_of(self, name: str) -> int:
        folders = _folders(name)
        if len(folders) <= self.class_at:
            return -1
        return self.classes.get(folders[self.class_at], -1)

    def splits(self, names: list[str]) -> tuple[str, ...]:
        """The splits that occur, in their order."""
        return in_order(self.split_of(name) for name in names)


def layout_of(names: list[str]) -> Layout:
    """The layout of files with these names, the common folders taken off."""
    # A LICENSE beside the class folders may be a picture, but says nothing about the layout.
    named = [name for name in names if suffix(name)] or names
    if _splits_first(named):
        split_at, class_at = 0, 1
    elif _splits_second(named):
        split_at, class_at = 1, 0
    else:
        return Layout(None, 0, _classes(named, 0))
    return Layout(split_at, class_at, _classes(named, class_at))


def common(names: list[str]) -> int:
    """Length of the folders, none of them a split, that hold everything; 0 if there are none."""
    length = 0
    for folder in names[0].split("/")[:-1]:
        longer = names[0][: length + len(folder) + 1]
        if folder.lower() in SPELLINGS or not all(name.startswith(longer) for name in names):
            break
        length = len(longer)
    return length


def split_in(name: str) -> str | None:
    """The split that a folder of the path or the first word of the file's name says."""
    *folders, base = name.split("/")
    words = [folder.lower() for folder in folders] + [re.split(r"[-_.]", base.lower())[0]]
    return next((SPELLINGS[word] for word in reversed(words) if word in SPELLINGS), None)


def _folders(name: str) -> list[str]:
    """The folders above a file, as far as they may say something."""
    return name.split("/")[:-1][:2]


def _splits_first(names: list[str]) -> bool:
    """Whether the top folders are splits; one such name among others is a class (a train)."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    splits = {top for top in tops if top.lower() in SPELLINGS}
    others = sorted(tops - splits)
    if len(splits) > 1 and others:
        raise ValueError(
            f"data.source: beside the splits {', '.join(sorted(splits))} there are pictures in"
            f" {others[0] or 'the top folder'!r}; allowed beside them: {', '.join(SPELLINGS)}"
        )
    return bool(splits) and not others


def _splits_second(names: list[str]) -> bool:
    """Whether every file lies in a split below another folder, as in ModelNet."""
    seconds = {folders[1].lower() if len(folders) > 1 else "" for folders in map(_folders, names)}
    return len({SPELLINGS.get(second) for second in seconds} - {None}) > 1 and all(
        second in SPELLINGS for second in seconds
    )


def _classes(names: list[str], at: int) -> dict[str, int]:
    """Number of each class folder, by sorted name, or nothing."""
    found = set()
    for name in names:
        folders = _folders(name)
        if len(folders) <= at:
            return {}
        found.add(folders[at])
    return {name: i for i, name in enumerate(sorted(found))} if len(found) > 1 else {}
