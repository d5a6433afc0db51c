"""Bytes at an offset, of a file here or behind a URL: nothing else is fetched."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 1 << 16  # bytes of one request when a file is read in order


@dataclass(frozen=True)
class Ranged:
    """`read(size, offset)` gives the bytes there, fewer at the end; `name` is for messages."""

    name: str
    size: int
    read: Callable[[int, int], bytes]

    def stream(self) -> io.BufferedReader:
        """The same bytes as a file that can be read in order and sought in."""
        return io.BufferedReader(_Stream(self), BLOCK)


class _Stream(io.RawIOBase):
    def __init__(self, ranged: Ranged):
        self.ranged, self.at = ranged, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_CUR: self.at, os.SEEK_END: self.ranged.size}.get(whence, 0)
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self.ranged.read(min(len(view), max(0, self.ranged.size - self.at)), self.at)
        view[: len(data)] = data
        self.at += len(data)
        return len(data)


def local(path: Path) -> Ranged:
    """A file here; it is open as long as the result lives."""
    fd = os.open(path, os.O_RDONLY)

    def read(size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    weakref.finalize(read, os.close, fd)
    return Ranged(str(path), os.fstat(fd).st_size, read)
