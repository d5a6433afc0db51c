"""Content hashes of inputs, remembered while size and modification time stay the same.

The memory (`state/hashes.sqlite`) only saves time: without it every file is read again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

MEMORY = Path("state/hashes.sqlite")


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
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            total.update(os.fsencode(file.relative_to(path)) + b"\0" + self._file(file).encode())
        return total.hexdigest()

    def _file(self, path: Path) -> str:
        facts = path.stat()
        name, stamp = (
            os.fsencode(path.resolve()),
            f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}",
        )
        row = self.table.execute(
            "SELECT value FROM hash WHERE file = ? AND stamp = ?", (name, stamp)
        ).fetchone()
        if row:
            return str(row[0])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        self.table.execute("INSERT OR REPLACE INTO hash VALUES (?, ?, ?)", (name, stamp, value))
        return value
