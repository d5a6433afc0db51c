"""Content hashes of inputs, remembered while size and modification time stay the same.

The memory (`state/hashes.sqlite`) only saves time: without it every file is read again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path

MEMORY = Path("state/hashes.sqlite")
LARGE = 4_000_000_000  # bytes: a folder whose reading is said


class Hashes:
    """SHA-256 of files and folders."""

    def __init__(self, memory: Path = MEMORY):
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            self.table = sqlite3.connect(memory, timeout=30, isolation_level=None)
            self.table.execute("CREATE TABLE IF NOT EXISTS hash (file PRIMARY KEY, stamp, value)")
        except (OSError, sqlite3.Error):  # a read-only tree
            self.table = sqlite3.connect(":memory:")
            self.table.execute("CREATE TABLE hash (file PRIMARY KEY, stamp, value)")

    def of(self, path: Path) -> str:
        """The hash of a file's bytes; of a folder's names and their files' hashes."""
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            raise ValueError(f"{path}: no such file or folder")
        files = sorted(p for p in path.rglob("*") if p.is_file())
        names = [os.fsencode(file.relative_to(path)) for file in files]
        seen = hashlib.sha256()
        for name, file in zip(names, files, strict=True):
            seen.update(name + b"\0" + _stamp(file).encode() + b"\0")
        stamp, total = seen.hexdigest(), hashlib.sha256()
        known = self._known(path, stamp)
        if known:
            return known
        size = sum(file.stat().st_size for file in files)
        if size > LARGE:
            told = f"{path}: {size / 1e9:,.0f} GB are read once, to know them by their content"
            print(told, file=sys.stderr, flush=True)
        for name, file in zip(names, files, strict=True):
            total.update(name + b"\0" + self._file(file).encode())
        return self._remembered(path, stamp, total.hexdigest())

    def _file(self, path: Path) -> str:
        stamp = _stamp(path)
        known = self._known(path, stamp)
        if known:
            return known
        with path.open("rb") as file:
            return self._remembered(path, stamp, hashlib.file_digest(file, "sha256").hexdigest())

    def _known(self, path: Path, stamp: str) -> str:
        with suppress(sqlite3.Error):  # locked for long: it is read again
            query = "SELECT value FROM hash WHERE file = ? AND stamp = ?"
            row = self.table.execute(query, (os.fsencode(path.resolve()), stamp)).fetchone()
            return str(row[0]) if row else ""
        return ""

    def _remembered(self, path: Path, stamp: str, value: str) -> str:
        with suppress(sqlite3.Error):  # read-only, or a full disk
            row = os.fsencode(path.resolve()), stamp, value
            self.table.execute("INSERT OR REPLACE INTO hash VALUES (?, ?, ?)", row)
        return value


def _stamp(path: Path) -> str:
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"


def sizes_of(folder: Path) -> str:
    """The names and sizes of a folder's files, as one hash: what can be told without reading."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    facts = [(os.fsencode(p.relative_to(folder)), p.stat().st_size) for p in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
