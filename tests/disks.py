"""A file system of its own, for tests of full and read-only disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """`folder`, made and mounted in memory with these options of mount; the test is skipped, or
    fails in CI, where that is refused.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        refused = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        refused = str(error)
    if refused:
        if os.environ.get("CI"):
            pytest.fail(f"no file system of its own in CI: {refused}")
        pytest.skip(f"no file system of its own: {refused}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
