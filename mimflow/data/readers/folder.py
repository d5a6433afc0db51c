"""The files below a folder, links followed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mimflow.data.readers.files import MAX_BYTES, Files, check_size, tidy
from mimflow.data.readers.ranged import Ranged, local


def folder_files(path: Path) -> Files:
    """Every file below `path`; one that has gone or may not be read shows when it is read."""
    ignored: Counter[str] = Counter()
    raw: dict[str, bytes] = {}  # where the name does not lead back to the path
    names: list[str] = []
    root = os.fsencode(path)
    for found in _walk(root, b"", (), ignored):
        name = tidy(found)
        names.append(name)
        if name.encode() != found:
            raw[name] = found
    names.sort()

    def place(i: int) -> bytes:
        return os.path.join(root, raw.get(names[i], names[i].encode()))  # noqa: PTH118 (bytes)

    def read(i: int, most: int = MAX_BYTES) -> bytes:
        return read_file(place(i), most)

    def size(i: int) -> int:
        return os.stat(place(i)).st_size  # noqa: PTH116

    def ranged(i: int) -> Ranged:
        return local(Path(os.fsdecode(place(i))))

    return Files("", names, read, size, ignored, "", ranged)


def read_file(path: bytes | str, most: int) -> bytes:
    """The bytes of a file; a ValueError if there is none, it may not be read or is too large."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a path of bytes)
            check_size(os.fstat(file.fileno()).st_size, most)
            return file.read()
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ValueError(error.strerror) from error


def _walk(
    root: bytes, below: bytes, above: tuple[tuple[int, int], ...], ignored: Counter[str]
) -> Iterator[bytes]:
    """Paths of plain files; `above` are the folders on the way, so that links cannot circle."""
    here = os.path.join(root, below)  # noqa: PTH118
    stat = os.stat(here)  # noqa: PTH116
    if (stat.st_dev, stat.st_ino) in above:
        ignored["link to a folder above"] += 1
        return
    with os.scandir(here) as entries:
        for entry in entries:
            name = os.path.join(below, entry.name)  # noqa: PTH118
            if not tidy(entry.name):
                ignored["hidden"] += 1
            elif entry.is_dir():
                yield from _walk(root, name, (*above, (stat.st_dev, stat.st_ino)), ignored)
            elif entry.is_file():
                yield name
            else:
                ignored["broken link or special file"] += 1
