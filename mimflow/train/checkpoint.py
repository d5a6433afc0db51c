"""What a resume needs, on disk: complete or absent, and with one writer.

The folder's name holds the hash of all that makes the run, so that a changed run never meets
another's state. The last two checkpoints are kept. A process that starts takes the folder over with
a token; one that finds another's token stops.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from mimflow.files import replacing, write

KEPT = 2


class Checkpoints:
    """Checkpoints of one run in `folder`, owned by this process from now on."""

    def __init__(self, folder: Path):
        self.folder, self.token = folder, secrets.token_hex(16).encode()
        write(folder / "owner", self.token)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after `step` steps; a ValueError if another process has taken over."""
        with replacing(self.folder / f"{step:012d}.pt") as file:
            torch.save(state, file)
            if (self.folder / "owner").read_bytes() != self.token:
                raise ValueError(
                    f"{self.folder.name}: another process trains this run; this one stops"
                )
        for old in self._files()[:-KEPT]:
            old.unlink()

    def latest(self) -> dict[str, Any] | None:
        """The newest state that can be read, or None; one that can not is said and passed over."""
        for file in reversed(self._files()):
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except (RuntimeError, EOFError, OSError, ValueError, UnpicklingError) as error:
                print(
                    f"{file}: not readable, the one before is used ({str(error).splitlines()[0]})"
                )
        return None

    def drop(self) -> None:
        """Removes everything: the run is complete."""
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.pt"))
