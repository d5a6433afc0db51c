"""The files of a folder or an archive under one face: sorted names, and bytes by position.

Names are paths with "/" below the folder or archive; bytes that are not UTF-8 are shown as \\xNN,
so every name is text that Arrow, JSON and a terminal can hold. No name becomes a path to write.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Protocol

from mimflow.data.readers.ranged import Ranged

# No table of a data set is larger, and no picture; keeps a hostile member from filling memory.
MAX_BYTES = 1 << 30


_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 1_000_000  # names that a range may stand for


class Read(Protocol):
    """The bytes of file `i`, refused before they are read if they are more than `most`."""

    def __call__(self, i: int, most: int = MAX_BYTES) -> bytes: ...


@dataclass(frozen=True)
class Files:
    """`read(i)` and `size(i)` give the bytes and the length of `names[i]`.

    `read` raises a ValueError when the bytes are damaged or refused; what may pass, such as a
    network disk that does not answer, stays an OSError. `ignored` counts what is no file to look
    at. `ranged(i)` reads parts of a file; inside an archive there is none.
    """

    within: str  # "", " in zip" or " in tar": the end of the kind's name
    names: list[str]
    read: Read
    size: Callable[[int], int]
    ignored: Counter[str]
    identity: str = ""
    ranged: Callable[[int], Ranged] | None = None

    def only(self, places: list[int]) -> Files:
        """These files, in this order."""
        ranged = self.ranged
        return replace(
            self,
            names=[self.names[i] for i in places],
            read=lambda i, most=MAX_BYTES: self.read(places[i], most),
            size=lambda i: self.size(places[i]),
            ranged=ranged and (lambda i: ranged(places[i])),
        )


def tidy(raw: bytes) -> str:
    """The name as text, without "." and doubled slashes; "" for hidden files and system litter."""
    parts = [part for part in raw.decode("utf-8", "backslashreplace").split("/") if part]
    parts = [part for part in parts if part != "."]
    litter = ("__MACOSX", "Thumbs.db", "desktop.ini")
    if any(part.startswith(".") or part in litter for part in parts):
        return ""
    return "/".join(parts)


def suffix(name: str) -> str:
    """The extension in small letters with its dot, or "" if there is none."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return f".{extension.lower()}" if dot and stem else ""


def check_size(size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{size} bytes, more than the {most} that a file may have")


def select(files: Files, pattern: str) -> Files:
    """The files that a pattern such as train-{000..012}.tar or */*.jpg names, all of them there."""
    wanted = expand(pattern)
    plain = {name for name in wanted if not set(name) & set("*?[")}
    missing = sorted(plain - set(files.names))
    if missing:
        raise ValueError(f"data.files: {pattern!r}: there is no {missing[0]!r} in data.source")
    globs = [name for name in wanted if name not in plain]
    places = [
        i
        for i, name in enumerate(files.names)
        if name in plain or any(fnmatchcase(name, glob) for glob in globs)
    ]
    if not places:
        raise ValueError(f"data.files: no file of data.source is named like {pattern!r}")
    chosen = files.only(places)
    left = len(files.names) - len(places)
    return replace(chosen, ignored=files.ignored + Counter({"not in data.files": left}))


def expand(pattern: str) -> list[str]:
    """The names that the ranges of a pattern stand for: a-{08..10} is a-08, a-09, a-10."""
    parts = _RANGE.split(pattern)  # text, first, last, text, ...
    choices: list[list[str]] = [[text] for text in parts]
    for at in range(1, len(parts), 3):
        first, last = parts[at], parts[at + 1]
        numbers = range(int(first), int(last) + 1)
        if not 0 < len(numbers) <= _MOST:
            raise ValueError(f"data.files: {pattern!r}: {first}..{last} are {len(numbers)} numbers")
        choices[at] = [str(number).zfill(len(first)) for number in numbers]
        choices[at + 1] = [""]
    return ["".join(names) for names in product(*choices)]
