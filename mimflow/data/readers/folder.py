"""The files below a folder, links followed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mimflow.data.readers.files import Files, check_size, tidy


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

    def read(i: int) -> bytes:
        try:
            with open(place(i), "rb") as file:  # noqa: PTH123 (a path of bytes)
                check_size(os.fstat(file.fileno()).st_size)
                return file.read()
        except (FileNotFoundError, PermissionError) as error:
            raise ValueError(error.strerror) from error

    return Files("", names, read, lambda i: os.stat(place(i)).st_size, ignored)  # noqa: PTH116


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
