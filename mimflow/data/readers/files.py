"""The files of a folder or an archive under one face: sorted names, and bytes by position.

Names are paths with "/" below the folder or archive; bytes that are not UTF-8 are shown as \\xNN,
so every name is text that Arrow, JSON and a terminal can hold. No name becomes a path to write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

# No picture under any sensible `max_pixels` is larger; keeps a hostile member from filling memory.
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Files:
    """`read(i)` and `size(i)` give the bytes and the length of `names[i]`.

    `read` raises a ValueError when the bytes are damaged or refused; what may pass, such as a
    network disk that does not answer, stays an OSError. `ignored` counts what is no file to look
    at.
    """

    within: str  # "", " in zip" or " in tar": the end of the kind's name
    names: list[str]
    read: Callable[[int], bytes]
    size: Callable[[int], int]
    ignored: Counter[str]
    identity: str = ""


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


def check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, more than the {MAX_BYTES} that a file may have")
