"""Files that are complete when they exist, and bytes that are equal when their content is equal.

A file is written beside its place, flushed to the disk and renamed, so that a kill at any moment
leaves the old file, the new one or none, and at worst a hidden `.NAME.*.tmp` beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        yield beside
        _flush(beside)
        beside.replace(path)
        _flush(path.parent)  # the rename itself has to reach the disk
    finally:
        beside.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def canonical(obj: Any) -> bytes:
    """JSON with sorted keys and a newline at the end: one byte string for one value."""
    text = json.dumps(obj, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode("ascii")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
